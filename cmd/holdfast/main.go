// Command holdfast obtains AWS credentials with hardware-backed keys through
// IAM Roles Anywhere.
package main

import (
	"context"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

func main() {
	// net/http tells of odd servers there; standard error is for an error and
	// its hint.
	log.SetOutput(io.Discard)
	os.Exit(run(context.Background(), app{
		stdin:     os.Stdin,
		stdout:    os.Stdout,
		stderr:    os.Stderr,
		lookupEnv: os.LookupEnv,
		now:       time.Now,
		openTTY:   openTTY,
		onSignal:  onSignal,
	}, os.Args[1:]))
}

// patience is how long signals are caught after the first one: as long as serve
// may take to answer what is under way.
const patience = loopback.DrainTimeout + hangs

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
		time.AfterFunc(patience, ignore)
		end()
	})
	return func() {
		unhook()
		ignore()
	}
}
