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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, app{
		stdin:     os.Stdin,
		stdout:    os.Stdout,
		stderr:    os.Stderr,
		lookupEnv: os.LookupEnv,
		now:       time.Now,
		openTTY:   openTTY,
	}, os.Args[1:])
	stop()
	os.Exit(code)
}
