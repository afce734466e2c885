// Package cli is the command line of Holdfast for a list of backends. A program
// outside of this module can link it with its own backends:
//
//	func main() { os.Exit(cli.Main(append(all.Backends(), mine.Backend{})...)) }
//
// Each command is one line in cmd/holdfast/internal/commands. Its code is in another
// package below cmd/holdfast/internal.
package cli

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/commands"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	_ "github.com/holdfast-dev/holdfast/cmd/holdfast/internal/mainstack"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// Main runs the command line of this process with backends and returns the exit
// code for [os.Exit]. A command that uses keys panics if two backends have the same
// scheme. Main catches signals, uses the standard streams of the process and silences
// package log. Call it once, from main.
func Main(backends ...keystore.Backend) int {
	// net/http logs protocol errors of servers to package log. Standard error
	// is reserved for an error and its hint.
	log.SetOutput(io.Discard)
	environ := os.Environ() // before setModuleLogging changes it
	setModuleLogging()
	return front.App{
		Stdin:     os.Stdin,
		Stdout:    front.Stdout(),
		Stderr:    os.Stderr,
		LookupEnv: os.LookupEnv,
		Environ:   func() []string { return slices.Clone(environ) },
		Now:       time.Now,
		OpenTTY:   front.OpenTTY,
		OnSignal:  onSignal,
		Store:     keystore.New(backends...),
		Commands:  commands.All,
		Offers:    commands.Offers,
	}.Run(context.Background(), flags.JoinSelector(os.Args[1:]))
}

// setModuleLogging stops tpm2-tss (TSS2_LOG) and tpm2-pkcs11
// (TPM2_PKCS11_LOG_LEVEL), which PKCS #11 modules use, from logging to standard
// error. Level 0 of tpm2-pkcs11 still logs errors. Variables that are already
// set remain unchanged.
func setModuleLogging() {
	for name, value := range map[string]string{"TSS2_LOG": "all+NONE", "TPM2_PKCS11_LOG_LEVEL": "0"} {
		if _, set := os.LookupEnv(name); !set {
			_ = os.Setenv(name, value) // fails only for invalid characters
		}
	}
}

// signalGrace is how long signals are caught after the first one. serve needs
// this time to answer pending requests.
const signalGrace = loopback.DrainTimeout + front.HangTimeout

// onSignal calls end on SIGINT or SIGTERM, until stop is called. After
// signalGrace it restores the default action of the signals, because a call
// that is stuck in a device ignores contexts. If SIGINT is ignored, as in a
// background job of a script, it stays ignored. The first call takes almost a
// millisecond, because the runtime starts threads.
func onSignal(end func()) (stop func()) {
	signals := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(os.Interrupt) {
		signals = append(signals, os.Interrupt)
	}
	ctx, restore := signal.NotifyContext(context.Background(), signals...)
	cancelEnd := context.AfterFunc(ctx, func() {
		time.AfterFunc(signalGrace, restore)
		end()
	})
	return func() {
		cancelEnd()
		restore()
	}
}
