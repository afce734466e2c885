// Command holdfast obtains AWS credentials with hardware-backed keys through
// IAM Roles Anywhere.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
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
