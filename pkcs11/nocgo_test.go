//go:build !cgo

package pkcs11

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Beside the program of the test is no helper.
func TestWithoutCgo(t *testing.T) {
	file, err := os.Executable() // any file
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"token=t;object=k":       helperName,
		"?module-path=" + file:   helperName,
		"":                       helperName,
		"token=t?isolation=auto": helperName,
		"token=t?isolation=on":   helperName,
		"token=t?module-path=/none.so&isolation=off": "only in the helper",
	} {
		s, err := Backend{}.Open(t.Context(), keystore.Ref{Scheme: "pkcs11", Rest: ref}, keystore.Call{})
		if s != nil || !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "" || !strings.Contains(err.Error(), want) || want != helperName && strings.Contains(err.Error(), errors.ErrUnsupported.Error()) {
			t.Errorf("%q: got %v, error %v", ref, s, err)
		}
		if _, err := (Backend{}).Attest(t.Context(), keystore.Ref{Scheme: "pkcs11", Rest: ref}, "", keystore.Call{}); !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "" {
			t.Errorf("%q: Attest: error %v", ref, err)
		}
	}
}
