package front

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// promptTimeout limits how long a prompt waits. The AWS SDK for Go kills a
// credential process after 60 s, and the request to the service follows the
// prompt.
const promptTimeout = 50 * time.Second

// Prompt asks for a PIN at the terminal. It is a [keystore.PINFunc]. It does
// not ask for an optional PIN.
func (a App) Prompt(ctx context.Context, p keystore.Prompt) ([]byte, error) {
	if p.Optional {
		return nil, nil
	}
	t, err := a.OpenTTY()
	if err != nil {
		return nil, a.noTerminal(p)
	}
	defer t.Close()
	text := wanted(p) + ": "
	if warning := warningOf(p); warning != "" {
		text = warning + "\r\n" + text
	}
	return a.answer(ctx, func(ctx context.Context) ([]byte, error) { return t.ReadPassword(ctx, text) })
}

// wanted describes the PIN of a prompt.
func wanted(p keystore.Prompt) string {
	return fmt.Sprintf("%s for %s", p.What, OneLine(p.Ref.String()))
}

// warningOf returns the warning about previous tries, or "".
func warningOf(p keystore.Prompt) string {
	switch {
	case p.LastTry:
		return "LAST TRY: another wrong " + p.What + " locks the device."
	case p.TriesUnknown:
		return "A wrong " + p.What + " was entered before. Another one may lock the device."
	case p.FewTries:
		return "A wrong " + p.What + " was entered before."
	}
	return ""
}

// answer calls ask within the time for a prompt and checks the result.
func (a App) answer(ctx context.Context, ask func(context.Context) ([]byte, error)) ([]byte, error) {
	ctx, done := await.Person(ctx, promptTimeout)
	defer done()
	pin, err := ask(ctx)
	if errors.Is(err, context.DeadlineExceeded) && signer.Hint(err) == "" {
		err = fmt.Errorf("nobody answered within %v: %w", promptTimeout, context.DeadlineExceeded)
	}
	if err != nil {
		return nil, &PromptError{err}
	}
	if len(bytes.TrimSpace(pin)) == 0 {
		return nil, &PromptError{errors.New("the input is empty")}
	}
	if a.answered != nil {
		a.answered.Store(true)
	}
	return pin, nil
}

// noTerminal returns the error for a prompt that cannot be shown. It says what was
// wanted, because the caller may have given a PIN for something else.
func (a App) noTerminal(p keystore.Prompt) error {
	hint := "give the " + p.What + " with --pin-source file:PATH or env:NAME"
	if a.Env("DISPLAY") != "" || a.Env("WAYLAND_DISPLAY") != "" {
		hint += ", or use --pin-source pinentry, which opens a window"
	}
	if p.What == keystore.AskTPMKey {
		hint += noPasswordHint
	}
	return signer.WithHint(&PromptError{fmt.Errorf("%w to ask for the %s", ErrNoTerminal, wanted(p))}, hint)
}

// ErrNoTerminal is in the [PromptError] of a prompt that could not be shown.
var ErrNoTerminal = errors.New("no terminal is available")

// A PromptError reports that a prompt returned no PIN.
type PromptError struct{ Err error }

// Error implements error.
func (e *PromptError) Error() string {
	if errors.Is(e.Err, context.Canceled) {
		return "prompt: interrupted"
	}
	return "prompt: " + strings.TrimSuffix(e.Err.Error(), ": "+context.DeadlineExceeded.Error())
}

// Unwrap returns e.Err and [signer.ErrPINRequired].
func (e *PromptError) Unwrap() []error { return []error{e.Err, signer.ErrPINRequired} }

// Twice returns a PINFunc like ask that asks twice for a new PIN or password, which
// its prompt marks as optional. No device can verify a new PIN.
func Twice(ask keystore.PINFunc) keystore.PINFunc {
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		if !p.Optional {
			return ask(ctx, p)
		}
		p.Optional = false
		what := p.What
		p.What = "new " + what
		first, err := ask(ctx, p)
		if err != nil {
			return nil, err
		}
		p.What = "repeat " + what
		second, err := ask(ctx, p)
		defer clear(second)
		if err == nil && !bytes.Equal(first, second) {
			err = signer.WithHint(&PromptError{errors.New("the two " + what + "s differ")}, "type the same "+what+" twice")
		}
		if err != nil {
			clear(first)
			return nil, err
		}
		return first, nil
	}
}

// noPasswordHint is for the commands that have the flag noPasswordFlag.
const (
	noPasswordFlag = "no-tpm-key-password"
	noPasswordHint = "; if the key has no password, use --" + noPasswordFlag
)
