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

// onSignal calls end when the process is interrupted or terminated, until stop
// is called. Its first call takes most of a millisecond: the runtime starts
// threads for it.
func onSignal(end func()) (stop func()) {
	ctx, ignore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	unhook := context.AfterFunc(ctx, end)
	return func() {
		unhook()
		ignore()
	}
}
