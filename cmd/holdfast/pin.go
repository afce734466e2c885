package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
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
func (a app) pinSource(f *identityFlags, opts keystore.Options) (keystore.PINFunc, error) {
	ask := a.prompt
	if f.reusePIN {
		ask = remember(ask)
	}
	switch source := f.pinSource; {
	case source != "" && f.password != "":
		return nil, signer.WithHint(usagef("--pin-source excludes --pkcs8-password"), "give --pin-source alone")
	case source != "" && source != "prompt":
		read, err := keystore.PINSource(source, opts)
		return read, signer.WithHint(err, "--pin-source is file:PATH, env:NAME or prompt")
	case f.password != "":
		return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
			if p.What != "password" { // it would use up a try of some device
				return ask(ctx, p)
			}
			return []byte(f.password), nil
		}, nil
	}
	return ask, nil
}

// remember gives the PIN that was typed for a login again for the signatures
// of keys that ask each time.
func remember(ask keystore.PINFunc) keystore.PINFunc {
	var mu sync.Mutex
	var last []byte
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if p.PerSignature && last != nil && !p.LastTry {
			return bytes.Clone(last), nil
		}
		pin, err := ask(ctx, p)
		if err == nil {
			last = bytes.Clone(pin)
		}
		return pin, err
	}
}

func (a app) prompt(ctx context.Context, p keystore.Prompt) ([]byte, error) {
	t, err := a.openTTY()
	if err != nil {
		return nil, &promptError{errors.New("no terminal to ask on")}
	}
	defer t.Close()
	ctx, cancel := context.WithTimeout(ctx, promptPatience)
	defer cancel()
	text := fmt.Sprintf("%s for %s: ", p.What, oneLine(p.Ref.String()))
	switch {
	case p.LastTry:
		text = "LAST TRY: a wrong " + p.What + " locks it now.\r\n" + text
	case p.FewTries:
		text = "A wrong " + p.What + " was given before.\r\n" + text
	}
	pin, err := t.ReadPassword(ctx, text)
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
