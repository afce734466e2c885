package program

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A pin is the PIN that a program asks for. It is kept until the program refuses it,
// because a program that is started again needs it again. A refused PIN is not sent
// again: a source that always has the same wrong PIN would lock what is behind the
// program.
type pin struct {
	value   []byte // nil: not known
	refused []byte // hash of the PIN that the program refused last
}

// get returns the PIN. refused is the answer of the program that asks for it. The wait for
// a person ends with ctx and with ended.
func (p *pin) get(ctx, ended context.Context, cfg Config, refused error) ([]byte, error) {
	if p.value != nil {
		return p.value, nil
	}
	if cfg.PIN == nil {
		return nil, refused
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ended, func() { cancel(signer.ErrClosed) })()
	value, err := cfg.PIN.Required()(ctx, keystore.Prompt{What: keystore.AskPIN, Ref: cfg.Ref, FewTries: p.refused != nil})
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(value)
	switch {
	case !utf8.Valid(value):
		clear(value)
		return nil, fmt.Errorf("the PIN is not UTF-8, and cannot be sent to the program: %w", errors.ErrUnsupported)
	case bytes.Equal(hash[:], p.refused):
		clear(value)
		return nil, fmt.Errorf("PIN not sent again because the program refused it before: %w", signer.ErrPINIncorrect)
	}
	p.value = value
	return value, nil
}

// refuse forgets the PIN, which the program has refused.
func (p *pin) refuse() {
	hash := sha256.Sum256(p.value)
	p.wipe()
	p.refused = hash[:]
}

func (p *pin) wipe() {
	clear(p.value)
	p.value = nil
}
