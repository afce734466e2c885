// Package doctor contains the command that finds out why an AWS client does not
// get credentials: doctor, and probe-module, which it runs for modules that may
// crash. The checks are values in one table. Of Holdfast's packages, doctor
// imports front, flags, role and the libraries.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// options are the flags of the command itself.
type options struct {
	profile       string // of the AWS configuration
	online        bool
	usePIN        bool
	asJSON        bool
	trustAnchor   string
	trustPolicy   string
	moduleTimeout time.Duration
}

// own are the flags that credential-process does not have.
var own = []string{"profile", "config", "role", "online", "use-pin", "json", "trust-anchor", "trust-policy", "module-timeout"}

// settings are the flags of credential-process, and those for a configuration
// file, which only doctor has.
type settings struct {
	role.Flags
	cache string // accepted, but doctor uses no cache
}

func (s *settings) add(cmd *cobra.Command) {
	s.AddSettings(cmd)
	front.CredentialFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&s.cache, "cache", "", "`where` credential-process keeps credentials; doctor accepts the flag and does not use a cache")
		front.MarkOptionalValue(fs.Lookup("cache"), "file", "keyring")
	})
}

// Doctor returns the command that diagnoses a configuration.
func Doctor(a front.App) *cobra.Command {
	var o options
	var s settings
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find out why a client gets no credentials",
		Long: `Checks a configuration step by step, from the settings to the session, and
prints a line for each check: ok, warning, fault or skipped, the name of the
check, and what was seen. Below a fault, a sentence says what to do, and
the line after the arrow is a command to paste. The first fault is usually the
cause of the others.

It accepts the flags of credential-process. With --profile it takes them from
the credential_process of a profile in the AWS configuration, and shows how
AWS clients split it. With --config it takes them from the file that serve,
exec and update read. Further flags override those of the profile or the file.
Without any of these flags, it uses the profile of AWS_PROFILE, or else
"default".

Without --online no packet is sent to AWS. Without --use-pin no PIN is used, so
that no try is lost: a key that needs a PIN is then not opened. The password of
a key file counts no tries, and is used if --pin-source gives it.

The exit code is 0 if there is no fault, and otherwise that of the first fault:
1 other error, 2 usage error, 3 key or file not found or ambiguous, 4 PIN or
password error, 5 device unavailable or not supported, 6 refused by AWS, 7 AWS
unreachable.`,
		Example: `  # check what "aws --profile app" runs:
  holdfast doctor --profile app

  # create a session, too, and compare with the trust policy of the role:
  holdfast doctor --profile app --online --trust-policy trust.json

  # check a role of the file of serve, exec and update:
  holdfast doctor --config /etc/holdfast/roles.toml --role app

  # check flags before they go into a configuration:
  holdfast doctor --certificate cert.pem --private-key key.pem \
      --trust-anchor ca.pem --trust-anchor-arn "$TRUST_ANCHOR_ARN" \
      --profile-arn "$PROFILE_ARN" --role-arn "$ROLE_ARN"`,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd, a, o, &s) },
	}
	front.ConfigFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&o.profile, "profile", "", "check the credential_process of this `profile` in the AWS configuration (default: AWS_PROFILE, or default, if no other settings are given)")
		fs.BoolVar(&o.online, "online", false, "also check the clock and the network, and create a session")
		fs.BoolVar(&o.usePIN, "use-pin", false, "use the PIN: open a key that needs one, and make a signature; a wrong PIN costs a try")
		fs.StringVar(&o.trustAnchor, "trust-anchor", "", "PEM `file` with the CA certificates of the trust anchor, to compare the chain with")
		front.RefuseEmpty(fs, "trust-anchor")
		fs.StringVar(&o.trustPolicy, "trust-policy", "", "JSON `file` with the trust policy of the role, to compare the certificate with; with --assume-role-arn usually that of the second role")
		fs.DurationVar(&o.moduleTimeout, "module-timeout", 1500*time.Millisecond, "how long PKCS #11 modules may take to load, as a `duration`")
	})
	s.AddFile(cmd)
	s.add(cmd)
	front.OutputFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.BoolVar(&o.asJSON, "json", false, "print a JSON object")
	})
	return cmd
}

// A patient is what the checks examine and what they have found.
type patient struct {
	front.App
	options
	cmd      *cobra.Command // with the flags of the user
	given    *settings      // of cmd
	args     []string       // all words that can contain secrets
	secrets  []string       // of the credential_process
	settings []string       // the names of the flags of credential-process that the user gave, except general ones

	aws awsProfile // if the settings come from an AWS configuration

	hasKey     bool
	key        flags.Key
	hasConfig  bool // config and chain are valid
	foreign    bool // credential_process runs a program whose settings are not known
	config     rolesanywhere.Config
	second     flags.Chain
	connection flags.Connection
	renews     bool // the role has a way to renew its certificate

	mu      sync.Mutex
	held    string // what the key needs and was not used; "": nothing
	what    string // the kind of PIN or password that was used last; "": none
	stored  string // the file with the PIN of the profile, if --pin-source replaces it
	differs bool   // a person typed another PIN than that in the file
	modules func() []probed
	placed  func() place

	endOrphans func(except int) // kills processes that modules left; nil: no module was loaded
	mark       string           // of a process that runs the checks of the key for another; see isolate
	ended      bool             // a module ended that process

	signer  signer.Signer // nil: not open
	badKey  bool          // the check of the key found a fault
	backend string        // of the key; "": unknown
	hangs   bool          // the device did not answer
	badFiles,
	badRules []string // what was seen in the faults of these checks
	openErr,
	certErr error
	certs signer.Certificates // of the key, or without it, of the first certificate

	reachOnce sync.Once
	reached   rolesanywhere.Reached
	reachErr  error
	reachBegan,
	reachEnded time.Time
	sessionOf rolesanywhere.Config // with the signer
	session   credentials.Credentials
}

func run(cmd *cobra.Command, a front.App, o options, s *settings) error {
	if o.moduleTimeout <= 0 {
		return front.Usagef("--module-timeout %v is not positive", o.moduleTimeout)
	}
	if o.profile != "" && s.ConfigFile != "" {
		return signer.WithHint(front.Usagef("--profile and --config exclude each other"), "give --config for a role of serve, exec or update, and --profile for an AWS configuration")
	}
	a.LongRunning = s.ConfigFile != "" // as serve, exec and update
	p := &patient{App: a, options: o, cmd: cmd, given: s}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		p.args = append(p.args, "--"+f.Name+"="+f.Value.String())
		if !isOwn(f.Name) && f.Name != "debug" && f.Name != "timeout" {
			p.settings = append(p.settings, f.Name)
		}
	})
	p.learnSecrets(p.args)
	p.modules = sync.OnceValue(func() []probed { return p.probeModules(cmd.Context()) })
	p.placed = sync.OnceValue(func() place { return p.place(cmd.Context()) })
	defer p.close()
	if p.mark = a.Env(markVariable); p.mark != "" {
		p.modules = func() []probed { return nil } // the other process probed them
		return p.examineKey(cmd.Context())
	}
	var failedWrite error
	report := func(r result) {
		if !o.asJSON && failedWrite == nil {
			failedWrite = r.write(a.Stdout, a.Colors())
		}
	}
	results, err := p.examine(cmd.Context(), report)
	if err != nil {
		return err
	}
	if failedWrite != nil {
		return failedWrite
	}
	if !o.asJSON {
		if _, err := fmt.Fprintln(a.Stdout, summary(results, o.online)); err != nil {
			return err
		}
	}
	worstState, code := worst(results)
	if o.asJSON {
		err = front.WriteJSON(a.Stdout, struct {
			State    state    `json:"state"`
			ExitCode int      `json:"exit_code"`
			Checks   []result `json:"checks"`
		}{worstState, code, results})
	}
	if err == nil && code != 0 {
		err = &front.StatusError{Code: code}
	}
	return err
}

func isOwn(name string) bool { return slices.Contains(own, name) }

// close closes the key, and ends what modules started. A device that hangs does
// not keep the command.
func (p *patient) close() {
	if p.endOrphans != nil {
		defer p.endOrphans(0)
	}
	if p.signer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), front.HangTimeout)
	defer cancel()
	_ = front.Interruptible(ctx, p.key.Name(), p.signer.Close)
}

// again returns the command line of the user with further flags, which replace
// those of the same name.
func (p *patient) again(words ...string) string {
	line := append([]string{"holdfast", "doctor"}, words...)
	p.cmd.Flags().Visit(func(f *pflag.Flag) {
		list, isList := f.Value.(pflag.SliceValue)
		switch {
		case f.Name == "json" || f.Name == "pkcs8-password" || f.Name == "tpm-key-password" || slices.Contains(words, "--"+f.Name):
		case f.Value.Type() == "bool" && f.Value.String() == "true":
			line = append(line, "--"+f.Name)
		case f.Value.Type() == "bool" || f.NoOptDefVal != "":
			line = append(line, "--"+f.Name+"="+f.Value.String())
		case isList:
			for _, v := range list.GetSlice() {
				line = append(line, "--"+f.Name, v)
			}
		case p.hide(f.Value.String()) != f.Value.String(): // a part of a reference would be of no use
			line = append(line, "--"+f.Name, strings.ToUpper(f.Name))
		default:
			line = append(line, "--"+f.Name, f.Value.String())
		}
	})
	return command(line...)
}
