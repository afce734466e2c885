package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// terminal is a tty on the files of the controlling terminal.
type terminal struct{ in, out *os.File }

// ReadPassword turns the echo off before it prints the prompt, so that what a
// program types at once does not show either.
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
	type result struct {
		pin string
		err error
	}
	done := make(chan result, 1)
	go func() { // stays behind if ctx ends first: a read of a terminal cannot be interrupted
		pin, err := term.NewTerminal(t, "").ReadPassword(prompt)
		done <- result{pin, err}
	}()
	select {
	case r := <-done:
		if errors.Is(r.err, io.EOF) {
			return nil, errors.New("interrupted")
		}
		return []byte(r.pin), r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
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
