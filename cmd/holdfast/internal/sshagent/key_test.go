//go:build unix

package sshagent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestCountedSignature: a PIN that was refused for a signature is not used again when the
// device is lost after that.
func TestCountedSignature(t *testing.T) {
	first := fake(t, "p256")
	first.OnSign = func(n int) error {
		if n == 1 {
			return errors.Join(signer.ErrPINIncorrect, signer.ErrTryCounted)
		}
		return signer.ErrUnavailable
	}
	opened := 0
	k, err := openKey(t.Context(), "key", rotate.Config{Open: func(context.Context) (signer.Signer, error) { opened++; return first, nil }})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{signer.ErrPINIncorrect, signer.ErrUnavailable, signer.ErrPINIncorrect, signer.ErrPINIncorrect} {
		if _, err := k.sign(t.Context(), nil, sshwire.Algorithms(k.public)[0]); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
	if opened != 1 {
		t.Errorf("opened %d times", opened)
	}
}

// TestFirstKeyComesBack: after another key, the agent signs again with its own.
func TestFirstKeyComesBack(t *testing.T) {
	key, other := fake(t, "p256"), fake(t, "p384")
	key.OnSign = func(n int) error {
		if n == 1 {
			return signer.ErrUnavailable
		}
		return nil
	}
	next := []signer.Signer{key, other, &signertest.Fake{Key: key.Key}}
	k, err := openKey(t.Context(), "key", rotate.Config{Open: func(context.Context) (signer.Signer, error) {
		s := next[0]
		next = next[1:]
		return s, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{signer.ErrUnavailable, signer.ErrMismatch, nil} {
		_, err := k.sign(t.Context(), nil, sshwire.Algorithms(k.public)[0])
		if !errors.Is(err, want) || err != nil && strings.Contains(err.Error(), "certificate") {
			t.Errorf("error %v, want %v", err, want)
		}
	}
}
