package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// promptTimeout limits how long a prompt waits. The AWS SDK for Go kills a
// credential process after 60 s, and the request to the service follows the
// prompt.
const promptTimeout = 50 * time.Second

// A TTY is the terminal of the user. It is independent of the standard streams,
// which an AWS client may redirect.
type TTY interface {
	// ReadPassword prints a prompt and reads a line without echo. It restores
	// the terminal before it returns, also when ctx ends.
	ReadPassword(ctx context.Context, prompt string) ([]byte, error)
	Close() error
}

// Prompt asks for a PIN at the terminal. It is a [keystore.PINFunc]. It does
// not ask for an optional PIN.
func (a App) Prompt(ctx context.Context, p keystore.Prompt) ([]byte, error) {
	if p.Optional {
		return nil, nil
	}
	t, err := a.OpenTTY()
	if err != nil {
		return nil, &PromptError{fmt.Errorf("no terminal is available to ask for the %s of %s", p.What, OneLine(p.Ref.String()))}
	}
	defer t.Close()
	ctx, cancel := context.WithTimeout(ctx, promptTimeout)
	defer cancel()
	text := fmt.Sprintf("%s for %s: ", p.What, OneLine(p.Ref.String()))
	switch {
	case p.LastTry:
		text = "LAST TRY: another wrong " + p.What + " locks the device.\r\n" + text
	case p.FewTries:
		text = "A wrong " + p.What + " was entered before.\r\n" + text
	}
	pin, err := t.ReadPassword(ctx, text)
	if err != nil {
		return nil, &PromptError{err}
	}
	if len(bytes.TrimSpace(pin)) == 0 {
		return nil, &PromptError{errors.New("the input is empty")}
	}
	return pin, nil
}

// A PromptError reports that a prompt returned no PIN.
type PromptError struct{ Err error }

// Error implements error.
func (e *PromptError) Error() string { return "prompt: " + e.Err.Error() }

// Unwrap returns e.Err and [signer.ErrPINRequired].
func (e *PromptError) Unwrap() []error { return []error{e.Err, signer.ErrPINRequired} }

// PromptNew is Prompt for a new PIN or password, which p marks as optional. It
// asks twice, because no device can verify a new PIN.
func (a App) PromptNew(ctx context.Context, p keystore.Prompt) ([]byte, error) {
	if !p.Optional {
		return a.Prompt(ctx, p)
	}
	p.Optional = false
	what := p.What
	p.What = "new " + what
	first, err := a.Prompt(ctx, p)
	if err != nil {
		return nil, err
	}
	p.What = "repeat " + what
	second, err := a.Prompt(ctx, p)
	defer clear(second)
	if err == nil && !bytes.Equal(first, second) {
		err = &PromptError{errors.New("the two inputs differ")}
	}
	if err != nil {
		clear(first)
		return nil, err
	}
	return first, nil
}
