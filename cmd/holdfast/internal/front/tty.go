package front

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/holdfast-dev/holdfast/internal/await"
)

// terminal is the TTY of the controlling terminal. It owns both files.
type terminal struct{ in, out *os.File }

// ReadPassword turns the echo off before it prints the prompt, so that input
// that arrives immediately after the prompt is not shown.
func (t terminal) ReadPassword(ctx context.Context, prompt string) ([]byte, error) {
	fd := int(t.in.Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = term.Restore(fd, state) // the terminal may be gone
		fmt.Fprintln(t.out)
	}()
	// A read of a terminal cannot be interrupted.
	pin, inTime, err := await.InTime(ctx, func() (string, error) { return term.NewTerminal(t, "").ReadPassword(prompt) }, nil)
	switch {
	case !inTime:
		return nil, ctx.Err()
	case errors.Is(err, io.EOF):
		return nil, errors.New("interrupted")
	}
	return []byte(pin), err
}

func (t terminal) Read(p []byte) (int, error)  { return t.in.Read(p) }
func (t terminal) Write(p []byte) (int, error) { return t.out.Write(p) }

func (t terminal) Close() error {
	err := t.in.Close()
	if t.out != t.in {
		err = t.out.Close()
	}
	return err
}
