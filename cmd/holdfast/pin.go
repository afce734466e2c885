package main

import (
	"bytes"
	"context"
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
		return nil, usagef("--pin-source excludes --pkcs8-password")
	case source == "prompt", source == "" && password == "":
		return a.prompt, nil
	case source != "":
		return keystore.PINSource(source, opts)
	}
	return func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(password), nil }, nil
}

func (a app) prompt(ctx context.Context, p keystore.Prompt) ([]byte, error) {
	t, err := a.openTTY()
	if err != nil {
		return nil, fmt.Errorf("%s: no terminal to ask on: %w", p.What, signer.ErrPINRequired)
	}
	defer t.Close()
	ctx, cancel := context.WithTimeout(ctx, promptPatience)
	defer cancel()
	pin, err := t.ReadPassword(ctx, fmt.Sprintf("%s for %s: ", p.What, oneLine(p.Ref.String())))
	if err != nil {
		return nil, fmt.Errorf("%s prompt: %w: %w", p.What, err, signer.ErrPINRequired)
	}
	if len(bytes.TrimSpace(pin)) == 0 {
		return nil, fmt.Errorf("%s prompt: nothing was typed: %w", p.What, signer.ErrPINRequired)
	}
	return pin, nil
}
