package front

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// TypedPINs stores the PINs that were typed during startup. It prompts
// until Stop is called. After that it returns a stored PIN when a key is
// reopened, but never a PIN that a device may have rejected. It is safe for
// concurrent use.
type TypedPINs struct {
	mu      sync.Mutex
	stopped bool
	pins    map[typedKey][]byte
}

type typedKey struct {
	what string
	ref  keystore.Ref
}

// Stop disables prompts.
func (t *TypedPINs) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
}

// Before returns a PINFunc that calls ask until Stop is called, and returns
// stored PINs after that.
func (t *TypedPINs) Before(ask keystore.PINFunc) keystore.PINFunc {
	return func(ctx context.Context, p keystore.Prompt) ([]byte, error) {
		t.mu.Lock()
		defer t.mu.Unlock() // held during ask: one prompt at a time
		key := typedKey{p.What, p.Ref}
		if t.stopped {
			if pin, ok := t.pins[key]; ok && !p.PerSignature && !p.FewTries && p.RefuseLastTry() == nil {
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
