package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// List returns the command that lists keys and certificates.
func List(a front.App) *cobra.Command {
	var device flags.Device
	var reference string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List keys and certificates with their references",
		Long: `Lists tokens, keys and certificates, each with a reference for --private-key or
--certificate. Without --in it lists the key stores of this machine: PKCS #11
tokens, the TPM, the certificate stores of Windows or the macOS Keychain, the
SPIFFE Workload API and ssh-agent.
Some tokens show their keys only after a login with the PIN of --pin-source. The
PIN is used only if exactly one token matches; select it with token=….

If an entry or a store cannot be read, the command prints the others, reports
the error and fails. A store that does not exist is reported but is not an
error, unless none exists or --pkcs11-lib, PKCS11_MODULE_PATH, TPM_DEVICE or
SPIFFE_ENDPOINT_SOCKET names it.`,
		Example: `  holdfast list
  holdfast list --in cert.pem
  holdfast list --in pkcs11:token=prod --pin-source prompt
  holdfast list --in tpm: --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return list(cmd.Context(), a, device, reference, asJSON)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&reference, "in", "", "list what this `reference` names, such as pkcs11:token=prod, tpm: or a file (default: all key stores of this machine)")
	fs.BoolVar(&asJSON, "json", false, "print a JSON array")
	device.Add(fs)
	fs.Lookup("pin-source").Usage = "`source` of the PIN or password, for references that do not name one: file:PATH, env:NAME, tpm:path=PATH, prompt or pinentry (default: none, and no prompt)"
	return cmd
}

// A listing is the printed form of an entry. With --json it is an object.
type listing struct {
	Kind      keystore.EntryKind `json:"kind"`
	Reference string             `json:"reference"`
	Key       string             `json:"key,omitempty"`
	Subject   string             `json:"subject,omitempty"`
	NotAfter  string             `json:"not_after,omitempty"`
	Encrypted bool               `json:"encrypted,omitempty"` // so that Key is not known
}

func list(ctx context.Context, a front.App, device flags.Device, reference string, asJSON bool) error {
	opts, err := device.Options(a)
	if err != nil {
		return err
	}
	if device.PINSource == "" {
		opts.PIN = nil // list does not prompt by default
	}
	what := "list"
	var stores []store
	if reference != "" {
		ref, err := keystore.ParseRef(reference)
		if err != nil {
			return err
		}
		what, stores = ref.String(), []store{{ref, true}}
	} else {
		for _, ref := range a.Store.Listers() {
			stores = append(stores, store{ref: ref})
		}
	}
	for i, s := range stores {
		if stores[i].ref, err = device.Complete(a, s.ref); err != nil {
			return err
		}
		stores[i].named = s.named || stores[i].ref != s.ref // by --pkcs11-lib
	}
	return front.Interruptible(ctx, what, func() error { return listAll(ctx, a, stores, opts, asJSON) })
}

// A store is what one call of [keystore.Store.List] lists.
type store struct {
	ref   keystore.Ref
	named bool // the user named it, so it must exist
}

// Variables without which their stores do not exist, so that nothing is missing then.
// Every desktop sets the second one, so it does not say that the user wants its store.
const (
	workloadVariable = "SPIFFE_ENDPOINT_SOCKET"
	agentVariable    = "SSH_AUTH_SOCK"
)

func listAll(ctx context.Context, a front.App, stores []store, opts keystore.Options, asJSON bool) error {
	found := []listing{} // not nil: [] in JSON
	var absent, failed []error
	read := 0
	for _, s := range stores {
		opts, none := opts, false
		opts.LookupEnv = func(name string) (string, bool) {
			v, ok := a.LookupEnv(name)
			s.named = s.named || v != "" && name != agentVariable // by a variable such as TPM_DEVICE
			none = none || v == "" && slices.Contains([]string{workloadVariable, agentVariable}, name)
			return v, ok
		}
		entries, err := listStore(ctx, a, s.ref, opts)
		if !s.named && (none || flags.IsOfOtherSystem(err)) {
			continue
		}
		switch {
		case err == nil:
			read++
		case !s.named && len(entries) == 0 && isAbsent(err):
			absent = append(absent, err)
		default:
			failed = append(failed, err)
		}
		for _, e := range entries {
			found = append(found, newListing(e))
		}
	}
	if read == 0 && len(failed) == 0 && len(absent) > 0 {
		return errors.Join(absent...)
	}
	for _, err := range absent { // most machines lack some kind of store
		fmt.Fprintf(a.Stderr, "holdfast: not listed: %s\n", front.OneLine(err.Error()))
	}
	if len(found) == 0 && len(failed) > 0 {
		return errors.Join(failed...)
	}
	return errors.Join(printAll(a, found, asJSON), errors.Join(failed...))
}

// listTimeout is how long a store may take, without the time of prompts. A store
// that does not answer does not hide the others.
const listTimeout = 15 * time.Second

func listStore(ctx context.Context, a front.App, ref keystore.Ref, opts keystore.Options) ([]keystore.Entry, error) {
	return onDevice(ctx, listTimeout, ref.String(), func(ctx context.Context) ([]keystore.Entry, error) { return a.Store.List(ctx, ref, opts) })
}

// isAbsent reports whether err means that a store does not exist, rather than
// that it cannot be read.
func isAbsent(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, signer.ErrUnavailable)
}

func printAll(a front.App, found []listing, asJSON bool) error {
	if asJSON {
		return front.WriteJSON(a.Stdout, found)
	}
	var b strings.Builder
	for _, l := range found {
		l.print(&b)
	}
	_, err := a.Stdout.Write([]byte(b.String()))
	return err
}

func newListing(e keystore.Entry) listing {
	l := listing{Kind: e.Kind, Reference: e.Ref.String(), Encrypted: e.Encrypted}
	if e.Public != nil {
		l.Key = signer.DescribeKey(e.Public)
	}
	if c := e.Certificate; c != nil {
		l.Key, l.Subject, l.NotAfter = signer.DescribeKeyOf(c), c.Subject.String(), c.NotAfter.UTC().Format(time.RFC3339)
	}
	return l
}

// print writes a description of the entry on one line and its reference, which
// is often longer than a line of a terminal, on the next.
func (l listing) print(b *strings.Builder) {
	fmt.Fprintf(b, "%-12s", l.Kind)
	key := l.Key
	if l.Encrypted {
		key = "encrypted"
	}
	for _, s := range []string{key, l.Subject} {
		if s != "" {
			fmt.Fprintf(b, " %s", front.OneLine(s))
		}
	}
	if day, _, ok := strings.Cut(l.NotAfter, "T"); ok {
		fmt.Fprintf(b, " until %s", day)
	}
	fmt.Fprintf(b, "\n  %s\n", front.OneLine(front.ShellQuote(l.Reference)))
}
