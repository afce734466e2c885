//go:build !cgo

package pkcs11

import (
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestWithoutCgo(t *testing.T) {
	for _, ref := range []string{"token=t;object=k", "?module-path=/none.so", ""} {
		s, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: "pkcs11", Rest: ref}, keystore.Call{})
		if s != nil || !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "" {
			t.Errorf("%q: got %v, error %v", ref, s, err)
		}
		if _, err := (Backend{}).Attest(t.Context(), keystore.Ref{Scheme: "pkcs11", Rest: ref}, "", keystore.Call{}); !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "" {
			t.Errorf("%q: Attest: error %v", ref, err)
		}
	}
}
