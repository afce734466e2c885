package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// promptPatience is how long a prompt waits: the AWS SDK for Go ends a
// credential process after 60 s, and the answer still has to travel.
const promptPatience = 50 * time.Second

// A tty is the terminal of the person, not standard input or error, which an
// AWS client holds.
type tty interface {
	// ReadPassword prints a prompt and reads a line without echo. It
	// restores the terminal before it returns, also if ctx ends first.
	ReadPassword(ctx context.Context, prompt string) ([]byte, error)
	Close() error
}

// pinSource returns the PINFunc of --pin-source and of the password flags of
// aws_signing_helper. Without any it asks if there is a terminal.
func (a app) pinSource(source, password string, opts keystore.Options) (keystore.PINFunc, error) {
	switch {
	case source != "" && password != "":
		return nil, signer.WithHint(usagef("--pin-source excludes --pkcs8-password"), "give --pin-source alone")
	case source == "prompt", source == "" && password == "":
		return a.prompt, nil
	case source != "":
		f, err := keystore.PINSource(source, opts)
		return f, signer.WithHint(err, "--pin-source is file:PATH, env:NAME or prompt")
	}
	return func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(password), nil }, nil
}

func (a app) prompt(ctx context.Context, p keystore.Prompt) ([]byte, error) {
	t, err := a.openTTY()
	if err != nil {
		return nil, &promptError{errors.New("no terminal to ask on")}
	}
	defer t.Close()
	ctx, cancel := context.WithTimeout(ctx, promptPatience)
	defer cancel()
	pin, err := t.ReadPassword(ctx, fmt.Sprintf("%s for %s: ", p.What, oneLine(p.Ref.String())))
	if err != nil {
		return nil, &promptError{err}
	}
	if len(bytes.TrimSpace(pin)) == 0 {
		return nil, &promptError{errors.New("nothing was typed")}
	}
	return pin, nil
}

// A promptError is a prompt that gives no PIN.
type promptError struct{ err error }

func (e *promptError) Error() string   { return "prompt: " + e.err.Error() }
func (e *promptError) Unwrap() []error { return []error{e.err, signer.ErrPINRequired} }
