// Package front contains the parts that all commands share: the streams, the
// environment and the terminal of the process, prompts for PINs, the log, the
// command tree, help texts, and the table that maps errors to exit codes and
// hints.
//
// Code belongs here if commands of several packages need it and it does not
// define flags. Groups of flags are in package flags. Within Holdfast, front
// imports the libraries whose errors it explains, and no package of commands.
package front

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
)

// An App is the interface of a command to everything outside of the process.
// Each command gets its own copy and may change it.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(string) (string, bool) // nil: no variable is set
	Environ        func() []string             // for child processes
	Now            func() time.Time
	OpenTTY        func() (TTY, error)
	OnSignal       func(end func()) (stop func()) // nil: signals have their default action

	Store    *keystore.Store // opens references with the backends of this program
	Commands []Command
	Offers   []Offer // complete values of flags that depend on the machine

	Log   *slog.Logger // nil: text to Stderr
	Typed *TypedPINs   // nil: each PIN request prompts

	LongRunning bool // see keystore.Options

	answered *atomic.Bool // whether a person has entered a PIN; nil: not recorded
}

// Catch calls end on a signal that ends the process, until stop is called.
func (a App) Catch(end func()) (stop func()) {
	if a.OnSignal == nil {
		return func() {}
	}
	return a.OnSignal(end)
}

// Logger returns the logger of the command. Unless Log is set, it logs to
// Stderr, from level debug if debug is set and from level warning otherwise.
func (a App) Logger(debug bool) *slog.Logger {
	if a.Log != nil {
		return a.Log
	}
	level := slog.LevelWarn
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(&LogHandler{W: a.Stderr, Level: level, HintLine: true})
}

// Env returns the value of an environment variable, or "" if it is not set.
func (a App) Env(name string) string {
	if a.LookupEnv != nil {
		if v, ok := a.LookupEnv(name); ok {
			return v
		}
	}
	return ""
}

// Options returns the options for backends, without a PIN source. The caller
// adds one.
func (a App) Options(logger *slog.Logger) keystore.Options {
	return keystore.Options{Logger: logger, Stdin: a.Stdin, LookupEnv: a.LookupEnv, Environ: a.Environ, Now: a.Now, LongRunning: a.LongRunning}
}

// Run executes one command line and returns the exit code. It writes only the
// result to standard output.
func (a App) Run(ctx context.Context, args []string) int {
	started := false
	a.answered = new(atomic.Bool)
	out := &output{w: a.Stdout}
	a.Stdout = out
	root := a.tree(args, &started)
	root.SetArgs(args)
	cmd, err := root, checkCommand(root, args)
	if err == nil {
		cmd, err = root.ExecuteContextC(ctx)
	}
	if err == nil && !a.serves(cmd) {
		err = out.err
	}
	if err == nil {
		return 0
	}
	if !started && out.err == nil {
		err = &UsageError{err}
	}
	return a.fail(cmd, args, err)
}
