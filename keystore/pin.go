package keystore

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxPIN bounds what a pin-source gives, in bytes.
const maxPIN = 1 << 10

// What prompts ask for.
const (
	AskPIN       = "PIN"
	AskPassword  = "password" // of a file
	AskTPMKey    = "TPM key password"
	AskTPMParent = "TPM parent password"
)

// A Prompt says what a PIN is needed for.
type Prompt struct {
	What string // one of the constants above
	Ref  Ref    // the key

	Optional     bool // there seems to be none: a person is not asked
	PerSignature bool // the key wants it before every signature
	FewTries     bool // a wrong one was given before
	LastTry      bool // a wrong one now locks the token
}

// RefuseLastTry is an error if a wrong PIN would lock the token. A source that
// is no person gives none then.
func (p Prompt) RefuseLastTry() error {
	if !p.LastTry {
		return nil
	}
	return signer.WithHint(fmt.Errorf("one try is left before the %s is locked: %w", p.What, signer.ErrPINRequired),
		"it is spent only when a person gives the PIN: let Options.PIN ask")
}

// A PINFunc gives the PIN or password of a key. The result belongs to the
// caller, who clears it after use. It returns [signer.ErrPINRequired] if there
// is none to be had, and nothing at all if the prompt is optional and nobody
// has given one. It is safe for concurrent use.
type PINFunc func(ctx context.Context, p Prompt) ([]byte, error)

// PINSource is [Call.PINSource] for a caller of s, whose [Unsealer]s it uses.
func (s *Store) PINSource(source Ref, opts Options) (PINFunc, error) {
	return s.begin(opts).PINSource(source)
}

// ParsePINSource is [ParseRef] for the text of a pin-source; errors say so.
func ParsePINSource(text string) (Ref, error) {
	ref, err := ParseRef(text)
	if err != nil {
		return Ref{}, fmt.Errorf("pin-source: %w", err)
	}
	return ref, nil
}

// PINSource returns the PINFunc of a pin-source attribute or flag
// (RFC 7512, section 2.4): env:NAME, file:PATH or a path, and in a call of a
// [Store] what one of its [Unsealer]s understands, such as tpm:path=sealed.pem.
// The PINFunc may be used after the call. It reads each time, so that a changed
// PIN is seen, variables by c.LookupEnv. One line end after the PIN is dropped,
// as is a byte order mark before it. A file that every local user can read is
// reported to c.Logger. All errors of the PINFunc wrap [signer.ErrPINRequired].
func (c Call) PINSource(source Ref) (PINFunc, error) {
	switch {
	case source.IsZero():
		return nil, fmt.Errorf("pin-source: %w", &RefError{"", errEmpty})
	case !c.store.givesPIN(source): // pass:PIN is understood by other programs: only the scheme is shown
		return nil, signer.WithHint(fmt.Errorf("pin-source: %w", &RefError{source.Scheme + "…", errors.New("is neither file:PATH nor env:NAME")}),
			"put the PIN alone into a file or a variable, and name that")
	}
	return func(ctx context.Context, p Prompt) ([]byte, error) {
		if err := p.RefuseLastTry(); err != nil {
			return nil, err
		}
		pin, err := c.readPIN(ctx, source)
		if err != nil {
			return nil, &sourceError{p.What, source, err}
		}
		return pin, nil
	}, nil
}

// givesPIN reports whether a reference is of a kind that a PIN is read from: a
// file, a variable or, unless s is nil, what an [Unsealer] of s understands.
func (s *Store) givesPIN(ref Ref) bool {
	if ref.Scheme == SchemeFile || ref.Scheme == SchemeEnv {
		return true
	}
	if s == nil {
		return false
	}
	_, sealed := s.scheme[ref.Scheme].(Unsealer)
	return sealed
}

// A sourceError is a pin-source that gives no PIN, for whatever reason.
type sourceError struct {
	what string
	ref  Ref
	err  error
}

func (e *sourceError) Error() string {
	return fmt.Sprintf("%s from pin-source %s: %v", e.what, e.ref, e.err)
}

func (e *sourceError) Unwrap() []error { return []error{e.err, signer.ErrPINRequired} }

func (e *sourceError) Hint() string {
	if h := signer.Hint(e.err); h != "" {
		return h
	}
	return "it must be a regular file or a variable that holds the " + e.what + " alone, on one line"
}

// unsealer returns what gives the secret of ref. Sealed secrets are not asked
// for in turn: the Call that it gets gives no PIN.
func (c Call) unsealer(ref Ref) (func(context.Context) ([]byte, error), bool) {
	if c.store == nil {
		return nil, false
	}
	u, ok := c.store.scheme[ref.Scheme].(Unsealer)
	bare := Call{Options: Options{Logger: c.Logger, Stdin: c.Stdin, LookupEnv: c.LookupEnv}}
	return func(ctx context.Context) ([]byte, error) { return u.Unseal(ctx, ref, bare) }, ok
}

func (c Call) readPIN(ctx context.Context, ref Ref) ([]byte, error) {
	var pin []byte
	if unseal, ok := c.unsealer(ref); ok {
		secret, err := unseal(ctx)
		if err != nil {
			return nil, err
		}
		pin = secret
	} else if ref.Scheme == SchemeFile {
		data, mode, err := readFile(ref.Rest, maxPIN)
		if err != nil {
			return nil, err
		}
		if openToOthers(mode) {
			c.warnOpen(ref.Rest, "a PIN")
		}
		pin = data
	} else {
		v, err := c.lookupEnv(ref.Rest)
		if err != nil {
			return nil, err
		}
		pin = []byte(v)
	}
	pin = bytes.TrimPrefix(pin, []byte("\ufeff"))
	if line, ok := bytes.CutSuffix(pin, []byte("\n")); ok {
		pin = bytes.TrimSuffix(line, []byte("\r"))
	}
	switch {
	case len(pin) == 0:
		return nil, errors.New("is empty")
	case len(pin) > maxPIN:
		return nil, tooLarge(maxPIN)
	case bytes.ContainsAny(pin, "\x00\n"):
		return nil, errors.New("is more than one line of text")
	}
	return pin, nil
}
