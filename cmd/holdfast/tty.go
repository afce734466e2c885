package main

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/term"
)

// terminal is a tty on the files of the controlling terminal.
type terminal struct{ in, out *os.File }

func (t terminal) ReadPassword(ctx context.Context, prompt string) ([]byte, error) {
	fd := int(t.in.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	fmt.Fprint(t.out, prompt)
	type result struct {
		pin []byte
		err error
	}
	done := make(chan result, 1)
	go func() { // stays behind if ctx ends first: a read of a terminal cannot be interrupted
		pin, err := term.ReadPassword(fd)
		done <- result{pin, err}
	}()
	defer fmt.Fprintln(t.out)
	select {
	case r := <-done:
		return r.pin, r.err
	case <-ctx.Done():
		_ = term.Restore(fd, state)
		return nil, ctx.Err()
	}
}

func (t terminal) Close() error {
	err := t.in.Close()
	if t.out != t.in {
		err = t.out.Close()
	}
	return err
}
