package issuing_test

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

func TestScripts(t *testing.T) { clitest.Scripts(t) }

// A publicKey is a key to certify, which is elsewhere.
type publicKey struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (k publicKey) Public() crypto.PublicKey { return k.pub }

// publicKeyOf returns the public key in PEM, for a CA.
func publicKeyOf(t *testing.T, data []byte) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("no PEM block in %s", data)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return publicKey{pub: pub}
}
