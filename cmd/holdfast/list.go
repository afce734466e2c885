package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

func (a app) list() *cobra.Command {
	var id identityFlags
	var below string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List keys and certificates, as references to paste",
		Long: `Lists tokens, keys and certificates. Without --in it asks every kind of store
that can be listed. Keys that a token hides without its PIN are shown if
--pin-source tells the PIN.`,
		Example: `  holdfast list
  holdfast list --in pkcs11:token=prod --pin-source prompt
  holdfast list --in tpm: --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return orLeave(ctx, cmp.Or(refName(below), "list"), func() error { return a.runList(ctx, &id, below, asJSON) })
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&below, "in", "", "what to list, as a `reference`: pkcs11:token=prod, tpm: (default: everything)")
	fs.BoolVar(&asJSON, "json", false, "print a JSON array")
	id.addSource(fs)
	return cmd
}

// A listing is an entry for people and for scripts.
type listing struct {
	Kind      keystore.EntryKind `json:"kind"`
	Reference string             `json:"reference"`
	Key       string             `json:"key,omitempty"`
	Subject   string             `json:"subject,omitempty"`
	NotAfter  string             `json:"not_after,omitempty"`
}

func (a app) runList(ctx context.Context, id *identityFlags, below string, asJSON bool) error {
	opts, err := a.options(id, false)
	if err != nil {
		return err
	}
	if id.pinSource == "" {
		opts.PIN = nil // nobody is asked only to see
	}
	store := a.store()
	refs := store.Listers()
	if below != "" {
		ref, err := keystore.ParseRef(below)
		if err != nil {
			return err
		}
		refs = []keystore.Ref{ref}
	}
	var found []listing
	var failed []error
	for _, ref := range refs {
		ref, err := setIfKnown(store, ref, "module-path", id.module)
		var entries []keystore.Entry
		if err == nil {
			entries, err = store.List(ctx, ref, opts)
		}
		if err != nil {
			failed = append(failed, err)
		}
		for _, e := range entries {
			found = append(found, newListing(e))
		}
	}
	if len(failed) == len(refs) {
		return errors.Join(failed...)
	}
	for _, err := range failed { // of some kinds of stores there is often none
		fmt.Fprintf(a.stderr, "holdfast: not listed: %s\n", oneLine(err.Error()))
	}
	if asJSON {
		return json.NewEncoder(a.stdout).Encode(found)
	}
	var b strings.Builder
	for _, l := range found {
		l.print(&b)
	}
	_, err = a.stdout.Write([]byte(b.String()))
	return err
}

func newListing(e keystore.Entry) listing {
	l := listing{Kind: e.Kind, Reference: e.Ref.String()}
	if e.Public != nil {
		l.Key = signer.DescribeKey(e.Public)
	}
	if c := e.Certificate; c != nil {
		l.Key, l.Subject, l.NotAfter = signer.DescribeKey(c.PublicKey), c.Subject.String(), c.NotAfter.UTC().Format(time.RFC3339)
	}
	return l
}

// print writes what it is, and below it the reference alone, which is often
// longer than a terminal is wide.
func (l listing) print(b *strings.Builder) {
	fmt.Fprintf(b, "%-12s", l.Kind)
	for _, s := range []string{l.Key, l.Subject} {
		if s != "" {
			fmt.Fprintf(b, " %s", oneLine(s))
		}
	}
	if day, _, ok := strings.Cut(l.NotAfter, "T"); ok {
		fmt.Fprintf(b, " until %s", day)
	}
	fmt.Fprintf(b, "\n  %s\n", oneLine(l.Reference))
}
