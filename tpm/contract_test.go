package tpm

import (
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// newTPM starts an emulator.
func newTPM(tb testing.TB) *tpmtest.TPM {
	tb.Helper()
	signertest.Require(tb, "swtpm", "swtpm")
	return tpmtest.Start(tb)
}

func TestContract(t *testing.T) {
	emulator := newTPM(t)
	for _, kind := range []keystore.KeyType{keystore.RSA2048, keystore.RSA3072, keystore.P256, keystore.P384, keystore.P521} {
		t.Run(string(kind), func(t *testing.T) {
			pem, err := Create(t.Context(), CreateConfig{Device: emulator.Path}, kind)
			if err != nil {
				t.Fatal(err)
			}
			signertest.Run(t, func(t *testing.T) signer.Signer {
				k, err := Open(t.Context(), Config{PEM: pem, Device: emulator.Path})
				if err != nil {
					t.Fatal(err)
				}
				return k
			})
		})
	}
}
