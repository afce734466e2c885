package signer

import "errors"

// Errors that a caller can act on. Backends wrap them with details; test for
// them with errors.Is.
var (
	ErrNotFound      = errors.New("no key matches")
	ErrAmbiguous     = errors.New("more than one key matches")
	ErrNoCertificate = errors.New("key has no certificate")
	ErrMismatch      = errors.New("certificate is for another key")
	ErrUnavailable   = errors.New("device is not available")
	ErrPINRequired   = errors.New("PIN required")
	ErrPINIncorrect  = errors.New("PIN incorrect")
	ErrPINLocked     = errors.New("PIN locked")
	ErrClosed        = errors.New("signer is closed")

	// ErrTryCounted means that the device counted a failed try for a PIN
	// or a password. Another try with the same one can lock the device: do
	// not repeat the call unless a person or a changed source gives
	// another one. An error that wraps it also wraps ErrPINIncorrect,
	// ErrPINRequired or ErrPINLocked.
	ErrTryCounted = errors.New("the device counted a failed try")
)

// An Error reports the backend, the operation and the key that an error
// concerns.
type Error struct {
	Backend string // such as "pkcs11"
	Op      string // such as "open"
	Ref     string // the key reference, without secrets
	Err     error
}

func (e *Error) Error() string {
	return e.Backend + ": " + e.Op + " " + e.Ref + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// WithHint attaches a hint to err: one sentence that says how to fix the
// problem. The hint is not part of the error's text; [Hint] returns it.
// WithHint(nil, …) is nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hint}
}

// Hint returns the outermost hint in err's tree, or "" if there is none. In
// joined errors the first hint wins, in the order of errors.As. Any error can
// carry a hint: it needs a method Hint() string that returns a non-empty
// string.
func Hint(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		return h.Hint()
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		return Hint(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if s := Hint(err); s != "" {
				return s
			}
		}
	}
	return ""
}

type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }
func (h *hinted) Hint() string  { return h.hint }
