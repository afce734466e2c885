package program

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A pin is the PIN that a program asks for. It is kept until the program refuses it,
// because a program that is started again needs it again. A PIN that was refused, or sent
// without an answer, is not sent again: a source that always has the same wrong PIN would
// lock what is behind the program.
type pin struct {
	value   []byte // nil: not known
	refused []byte // hash of the last PIN that must not be sent again
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
		return nil, signer.WithHint(fmt.Errorf("PIN not sent again because the program refused it before, or did not answer: %w", signer.ErrPINIncorrect),
			"give another PIN; if this one is right, restart the program that has the key open")
	}
	p.value = value
	return value, nil
}

// result returns err, the error of a request with the PIN, and forgets a PIN that must not
// be sent again.
func (p *pin) result(err error) error {
	var refused *refusal
	answered := err == nil || errors.As(err, &refused)
	if answered && !(err != nil && slices.Contains([]string{codePINRequired, codePINIncorrect, codePINLocked}, refused.code)) {
		return err
	}
	hash := sha256.Sum256(p.value)
	p.wipe()
	p.refused = hash[:]
	if answered {
		return &countedError{err: err}
	}
	return &countedError{err, signer.ErrPINRequired}
}

// A countedError is the error of a request with a PIN that was refused, or whose result is
// not known: what is behind the program may have counted it.
type countedError struct {
	err     error
	unknown error // nil: it was refused
}

func (e *countedError) Error() string {
	if e.unknown == nil {
		return e.err.Error()
	}
	return "the program got the PIN, and it is not known whether it was right: " + e.err.Error()
}

func (e *countedError) Unwrap() []error {
	errs := []error{e.err, signer.ErrTryCounted}
	if e.unknown != nil {
		errs = append(errs, e.unknown)
	}
	return errs
}

func (p *pin) wipe() {
	clear(p.value)
	p.value = nil
}
