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

// OpenTTY opens the console of the process, even if the standard handles are
// redirected.
func OpenTTY() (TTY, error) {
	in, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile("CONOUT$", os.O_RDWR, 0)
	if err != nil {
		in.Close()
		return nil, err
	}
	return console{in, out}, nil
}

// A console is the TTY of the console of the process. It owns both files.
type console struct{ in, out *os.File }

// ReadPassword turns the echo off before it prints the prompt, so that input
// that arrives immediately after the prompt is not shown.
func (c console) ReadPassword(ctx context.Context, prompt string) ([]byte, error) {
	fd := int(c.in.Fd())
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = term.Restore(fd, state) // the console may be gone
		fmt.Fprintln(c.out)
	}()
	// A read of a console cannot be interrupted.
	pin, inTime, err := await.InTime(ctx, func() (string, error) { return term.NewTerminal(c, "").ReadPassword(prompt) }, nil)
	switch {
	case !inTime:
		return nil, ctx.Err()
	case errors.Is(err, io.EOF):
		return nil, errInputEnded
	}
	return []byte(pin), err
}

// Print implements [TTY].
func (c console) Print(line string) error {
	_, err := fmt.Fprintln(c.out, line)
	return err
}

func (c console) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c console) Write(p []byte) (int, error) { return c.out.Write(p) }
func (c console) Close() error                { return errors.Join(c.in.Close(), c.out.Close()) }

// saveTerminal does nothing: pinentry programs of Windows have windows.
func saveTerminal() (restore func(), name string) { return func() {}, "" }

// lockTerminal does nothing: a console is not shared by programs that ask at the
// same time.
func lockTerminal(context.Context) (unlock func(), err error) { return func() {}, nil }
