// Package cli is the command line of Holdfast over a list of backends. A program
// outside of Holdfast links it with backends of its own:
//
//	func main() { os.Exit(cli.Main(append(all.Backends(), mine.Backend{})...)) }
//
// The package wires: a command is one line here, and its code is in a package below
// cmd/holdfast/internal, which says what belongs there.
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

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/keys"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/local"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/vending"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// The groups of commands in the help.
const (
	credentialCommands = "Credentials for AWS clients"
	keyCommands        = "Keys"
	localCommands      = "Local testing without AWS"
)

// commands are those of the program. The help sorts them by name.
var commands = []front.Command{
	{Name: "credential-process", Group: credentialCommands, New: vending.CredentialProcess, Brief: true}, // catches signals where it opens the key
	{Name: "serve", Group: credentialCommands, New: vending.Serve},
	{Name: "exec", Group: credentialCommands, New: vending.Exec},
	{Name: "update", Group: credentialCommands, New: vending.Update},
	{Name: "cache", Group: credentialCommands, New: vending.Cache},
	{Name: "generate", Group: keyCommands, New: keys.Generate},
	{Name: "list", Group: keyCommands, New: keys.List},
	{Name: "seal", Group: keyCommands, New: keys.Seal},
	{Name: "emulator", Group: localCommands, New: local.Emulator},
	{Name: "demo", Group: localCommands, New: local.Demo},
	{Name: "version", New: version, Brief: true},
}

// Main runs the command line of this process with these backends and returns the
// exit code, for [os.Exit]. It panics if two backends have the same scheme. It
// catches signals, reads the standard input and writes the standard outputs of
// the process, and silences package log, so it is called once, by main.
func Main(backends ...keystore.Backend) int {
	// net/http tells of odd servers there; standard error is for an error and
	// its hint.
	log.SetOutput(io.Discard)
	environ := os.Environ() // for programs that are run
	quietModules()
	return front.App{
		Stdin:     os.Stdin,
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
		LookupEnv: os.LookupEnv,
		Environ:   func() []string { return slices.Clone(environ) },
		Now:       time.Now,
		OpenTTY:   front.OpenTTY,
		OnSignal:  onSignal,
		Store:     keystore.New(backends...),
		Commands:  commands,
	}.Run(context.Background(), os.Args[1:])
}

// quietModules has libraries below PKCS#11 modules not write their own log to
// standard error, unless the environment says otherwise: TSS2_LOG is
// tpm2-tss's, TPM2_PKCS11_LOG_LEVEL tpm2-pkcs11's, whose level 0 leaves errors.
func quietModules() {
	for name, value := range map[string]string{"TSS2_LOG": "all+NONE", "TPM2_PKCS11_LOG_LEVEL": "0"} {
		if _, set := os.LookupEnv(name); !set {
			_ = os.Setenv(name, value) // fails for names and values of bad characters alone
		}
	}
}

// signalGrace is how long signals are caught after the first one: as long as
// serve may take to answer what is under way.
const signalGrace = loopback.DrainTimeout + front.HangTimeout

// onSignal calls end when the process is interrupted or terminated, until stop
// is called. Some time after that a signal does what it does by itself: a device
// that hangs heeds no context. An interrupt that is ignored, as in the background
// of a script, stays so. The first call takes most of a millisecond: the runtime
// starts threads for it.
func onSignal(end func()) (stop func()) {
	signals := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(os.Interrupt) {
		signals = append(signals, os.Interrupt)
	}
	ctx, ignore := signal.NotifyContext(context.Background(), signals...)
	unhook := context.AfterFunc(ctx, func() {
		time.AfterFunc(signalGrace, ignore)
		end()
	})
	return func() {
		unhook()
		ignore()
	}
}
