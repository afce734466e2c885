package signer

import "errors"

// What a caller can act on. Backends wrap these with what they know; test for
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
)

// An Error says which backend failed to do what with which key.
type Error struct {
	Backend string // such as "pkcs11"
	Op      string // such as "open"
	Ref     string // the reference, without secrets
	Err     error
}

func (e *Error) Error() string {
	return e.Backend + ": " + e.Op + " " + e.Ref + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// WithHint attaches to err one sentence that says the way out. The sentence is
// not part of the error's text; [Hint] finds it. WithHint(nil, …) is nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hint}
}

// Hint returns the outermost hint in err's tree, or "". Where errors are joined
// it is the first one's, as with errors.As. Any error may carry a hint by having
// a method Hint() string that returns a non-empty sentence.
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
