package front

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// TypedPINs are for commands that outlive the person at the terminal. They ask
// until Stop is called; later they give what was typed again, for a key that
// has to be reopened, and never a PIN that a device may have refused. They are
// safe for concurrent use.
type TypedPINs struct {
	mu      sync.Mutex
	stopped bool
	pins    map[typedKey][]byte
}

type typedKey struct {
	what string
	ref  keystore.Ref
}

// Stop ends the asking.
func (t *TypedPINs) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
}

// Before returns a PINFunc that asks by ask while that is allowed.
func (t *TypedPINs) Before(ask keystore.PINFunc) keystore.PINFunc {
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		t.mu.Lock()
		defer t.mu.Unlock() // also: one prompt at a time
		key := typedKey{p.What, p.Ref}
		if t.stopped {
			if pin, ok := t.pins[key]; ok && !p.PerSignature && !p.FewTries && !p.LastTry {
				return bytes.Clone(pin), nil
			}
			if p.Optional {
				return nil, nil
			}
			return nil, signer.WithHint(&PromptError{errors.New("prompts are disabled after startup")},
				"give the PIN with --pin-source file:PATH or env:NAME, use --reuse-pin, or restart the program")
		}
		pin, err := ask(ctx, p)
		if err == nil && !p.Optional {
			if t.pins == nil {
				t.pins = make(map[typedKey][]byte)
			}
			t.pins[key] = bytes.Clone(pin)
		}
		return pin, err
	}
}
