package signer_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

// ownHint is an error with a Hint method of its own, which may return "".
type ownHint struct {
	error
	hint string
}

func (h ownHint) Hint() string  { return h.hint }
func (h ownHint) Unwrap() error { return h.error }

func TestHint(t *testing.T) {
	base := errors.New("base")
	wrap := func(err error) error { return fmt.Errorf("layer: %w", err) }
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"nil", nil, ""},
		{"none", wrap(base), ""},
		{"direct", signer.WithHint(base, "a"), "a"},
		{"wrapped", wrap(wrap(signer.WithHint(base, "a"))), "a"},
		{"outermost", signer.WithHint(wrap(signer.WithHint(base, "inner")), "outer"), "outer"},
		{"Hint method", wrap(ownHint{base, "a"}), "a"},
		{"empty, then a hint inside", ownHint{wrap(signer.WithHint(base, "a")), ""}, "a"},
		{"empty WithHint", signer.WithHint(signer.WithHint(base, "a"), ""), "a"},
		{"empty only", wrap(ownHint{base, ""}), ""},
		{"in signer.Error", &signer.Error{Backend: "b", Op: "open", Ref: "r", Err: signer.WithHint(base, "a")}, "a"},
		{"joined", errors.Join(base, signer.WithHint(base, "a"), signer.WithHint(base, "b")), "a"},
		{"joined with an empty hint", errors.Join(ownHint{base, ""}, signer.WithHint(base, "a")), "a"},
		{"joined inside a wrapped error, after an empty hint", wrap(errors.Join(wrap(ownHint{base, ""}), wrap(signer.WithHint(base, "a")))), "a"},
		{"two with Errorf", fmt.Errorf("%w and %w", base, signer.WithHint(base, "a")), "a"},
		{"around a join", signer.WithHint(errors.Join(signer.WithHint(base, "a"), base), "outer"), "outer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := signer.Hint(test.err); got != test.want {
				t.Errorf("hint %q, want %q", got, test.want)
			}
		})
	}
}

func TestWithHint(t *testing.T) {
	if err := signer.WithHint(nil, "a"); err != nil {
		t.Errorf("WithHint(nil, …) is %v, want nil", err)
	}
	err := signer.WithHint(signer.ErrPINLocked, "reset the PIN")
	if err.Error() != signer.ErrPINLocked.Error() {
		t.Errorf("the hint changed the text to %q", err)
	}
	if !errors.Is(err, signer.ErrPINLocked) {
		t.Error("the hint hides the error")
	}
}

func TestError(t *testing.T) {
	var err error = fmt.Errorf("layer: %w", &signer.Error{
		Backend: "pkcs11", Op: "open", Ref: "pkcs11:token=t", Err: signer.WithHint(signer.ErrNotFound, "look again"),
	})
	var e *signer.Error
	if !errors.As(err, &e) || e.Ref != "pkcs11:token=t" {
		t.Errorf("%v is not the *signer.Error", err)
	}
	if !errors.Is(err, signer.ErrNotFound) || errors.Is(err, signer.ErrAmbiguous) {
		t.Errorf("%v is not ErrNotFound alone", err)
	}
	if got, want := e.Error(), "pkcs11: open pkcs11:token=t: no key matches"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
}
