package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

// An app is everything outside of the process that a command touches.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	lookupEnv      func(string) (string, bool)
	now            func() time.Time
	openTTY        func() (tty, error)
}

// run executes one command line and returns the exit code. Standard output
// has the result and nothing else.
func run(ctx context.Context, a app, args []string) int {
	started := false
	root := a.root(&started)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if !started {
		err = &usageError{err}
	}
	code, hint := explain(err)
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
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			*started = true
			return cmd.Help()
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.CompletionOptions.HiddenDefaultCmd = false
	root.AddCommand(
		a.credentialProcess(),
		a.emulator(),
		a.demo(),
		a.version(),
	)
	for _, c := range root.Commands() {
		runE := c.RunE
		c.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return runE(cmd, args)
		}
	}
	return root
}

// store opens references with everything that this app has.
func (a app) store() *keystore.Store { return all.New() }

func (a app) logger(debug bool) *slog.Logger {
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
