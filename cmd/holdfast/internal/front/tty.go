package front

import (
	"context"
	"errors"
)

// A TTY is the terminal of the user. It is independent of the standard streams,
// which an AWS client may redirect.
type TTY interface {
	// ReadPassword prints a prompt and reads a line without echo. It restores
	// the terminal before it returns, also when ctx ends.
	ReadPassword(ctx context.Context, prompt string) ([]byte, error)

	// Print prints a line.
	Print(line string) error
	Close() error
}

var (
	errInputEnded = errors.New("the input ended")
	errTooLong    = errors.New("the input is too long")
)
