// Package front is what every command stands behind: the streams, the
// environment and the terminal of the process, prompts for PINs, the log, the
// tree of commands, help texts, and the table from errors to exit codes and
// hints.
//
// A line belongs here if commands of several packages need it and it is no flag;
// groups of flags are in package flags. Of Holdfast, front imports the
// libraries whose errors it explains, and no package of commands.
package front

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
)

// An App is everything outside of the process that a command touches. Commands
// get a copy of their own, which they may change.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	LookupEnv      func(string) (string, bool)
	Environ        func() []string // for programs that are run
	Now            func() time.Time
	OpenTTY        func() (TTY, error)
	OnSignal       func(end func()) (stop func()) // nil: signals do what they do

	Store    *keystore.Store // opens references with the backends that this program has
	Commands []Command

	Log   *slog.Logger // nil: for people, to Stderr
	Typed *TypedPINs   // nil: a person is asked each time
}

// Catch has signals end what the command does, until stop is called.
func (a App) Catch(end func()) (stop func()) {
	if a.OnSignal == nil {
		return func() {}
	}
	return a.OnSignal(end)
}

// Logger returns the log of the command.
func (a App) Logger(debug bool) *slog.Logger {
	if a.Log != nil {
		return a.Log
	}
	level := slog.LevelWarn
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(&LogHandler{W: a.Stderr, Level: level})
}

// Env returns the value of a variable, "" if it is not set.
func (a App) Env(name string) string {
	v, _ := a.LookupEnv(name)
	return v
}

// Options are what backends get from this program. Whoever knows of a source of
// PINs adds it.
func (a App) Options(logger *slog.Logger) keystore.Options {
	return keystore.Options{Logger: logger, Stdin: a.Stdin, LookupEnv: a.LookupEnv}
}

// Run executes one command line and returns the exit code. Standard output has
// the result and nothing else.
func (a App) Run(ctx context.Context, args []string) int {
	started := false
	root := a.tree(args, &started)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	if !started {
		err = &UsageError{err}
	}
	return a.fail(cmd, err)
}
