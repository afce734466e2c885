package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

// An app is everything outside of the process that a command touches.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	lookupEnv      func(string) (string, bool)
	now            func() time.Time
	openTTY        func() (tty, error)
	onSignal       func(end func()) (stop func()) // nil: signals do what they do

	log   *slog.Logger // nil: for people, to stderr
	typed *typedPINs   // nil: a person is asked each time
}

// run executes one command line and returns the exit code. Standard output
// has the result and nothing else.
func run(ctx context.Context, a app, args []string) int {
	started := false
	root := a.root(&started)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if !started {
		err = &usageError{err}
	}
	var child *childError
	if errors.As(err, &child) {
		return child.code
	}
	code, hint := explain(err)
	if (as[*usageError](err) || errors.Is(err, rolesanywhere.ErrConfig)) && code == exitUsage && signer.Hint(err) == "" {
		hint = "see " + cmd.CommandPath() + " --help"
	}
	fmt.Fprintf(a.stderr, "holdfast: %s\nhint: %s\n", oneLine(err.Error()), oneLine(hint))
	return code
}

// A usageError is a command line that cannot be understood.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// oneLine also keeps what stands in a file name from steering the terminal.
func oneLine(s string) string {
	s = strings.ReplaceAll(strings.TrimSpace(s), "\n", "; ")
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// root builds the tree of commands. It sets started once a command line was
// understood.
func (a app) root(started *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "AWS credentials with hardware-backed keys, through IAM Roles Anywhere",
		Long: `Holdfast signs with private keys that stay where they live and turns them
into temporary AWS credentials through IAM Roles Anywhere. It takes the flags
of aws_signing_helper.`,
		Example: `  holdfast demo
  holdfast credential-process --certificate cert.pem --private-key key.pem \
      --trust-anchor-arn ARN --profile-arn ARN --role-arn ARN`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			*started = true
			return cmd.Help()
		},
		SuggestionsMinimumDistance: 2,
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(usage)
	root.AddCommand(
		a.cache(),
		a.update(),
		a.serve(),
		a.exec(),
		a.generate(),
		a.list(),
		a.seal(),
		a.emulator(),
		a.demo(),
	)
	for _, c := range root.Commands() {
		runE := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			defer a.catch(cancel)()
			cmd.SetContext(ctx)
			return runE(cmd, args)
		}
	}
	// These are too short to catch signals from the start.
	root.AddCommand(a.credentialProcess(), a.version())
	for _, c := range root.Commands() {
		for _, c := range append(c.Commands(), c) {
			if c.Args == nil {
				c.Args = noArgs
			}
			runE := c.RunE
			c.RunE = func(cmd *cobra.Command, args []string) error {
				*started = true
				return runE(cmd, args)
			}
		}
	}
	root.Args = noArgs
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Args = isTopic
		case "completion":
			c.Args, c.RunE = noArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range c.Commands() {
				shell.Args = noArgs
			}
		}
	}
	return root
}

// noArgs refuses what is not a flag, among it unknown commands. It is not
// shown beside a password, of which it may be the second half.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if cmd.HasAvailableSubCommands() {
		hint := "see " + cmd.CommandPath() + " --help"
		if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
			hint = "did you mean " + cmd.CommandPath() + " " + similar[0] + "?"
		}
		return signer.WithHint(fmt.Errorf("unknown command %q", args[0]), hint)
	}
	what := fmt.Sprintf("argument %q", args[0])
	for _, name := range []string{"pkcs8-password", "tpm-key-password"} {
		if cmd.Flags().Changed(name) {
			what = "argument beside its flags"
		}
	}
	if f := cmd.Flags().Lookup("cache"); f != nil && f.Changed && args[0] == cacheKeyring {
		return signer.WithHint(fmt.Errorf("%s takes no %s", cmd.Name(), what), "write --cache="+cacheKeyring)
	}
	return signer.WithHint(fmt.Errorf("%s takes no %s", cmd.Name(), what),
		"put quotes around values with blanks; see "+cmd.CommandPath()+" --help")
}

// isTopic wants the names of a command.
func isTopic(help *cobra.Command, args []string) error {
	cmd, rest, err := help.Root().Find(args)
	if err != nil {
		return err
	}
	return noArgs(cmd, rest)
}

// flagError says what a flag wants where its parser speaks of Go.
func flagError(_ *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	f := invalid.GetFlag()
	err = fmt.Errorf("--%s %q is not %s", f.Name, invalid.GetValue(),
		cmp.Or(valueForms[f.Value.Type()], "a "+f.Value.Type()))
	return signer.WithHint(err, "--"+f.Name+": "+strings.ReplaceAll(f.Usage, "\n", " "))
}

var valueForms = map[string]string{
	"bool":     "true or false",
	"int":      "a whole number",
	"float64":  "a number",
	"duration": "a duration such as 300ms or 9s",
}

// catch has signals end what the command does, until stop is called.
func (a app) catch(end func()) (stop func()) {
	if a.onSignal == nil {
		return func() {}
	}
	return a.onSignal(end)
}

// store opens references with everything that this app has.
func (a app) store() *keystore.Store { return all.New() }

func (a app) logger(debug bool) *slog.Logger {
	if a.log != nil {
		return a.log
	}
	level := slog.LevelWarn
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(&logHandler{w: a.stderr, level: level})
}

// env returns the value of a variable, "" if it is not set.
func (a app) env(name string) string {
	v, _ := a.lookupEnv(name)
	return v
}
