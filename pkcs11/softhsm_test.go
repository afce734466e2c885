//go:build cgo

package pkcs11_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

var hsm *pkcs11test.SoftHSM // set by TestMain; nil if there is none

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "holdfast-pkcs11-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if hsm, _, err = pkcs11test.Find(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func softHSM(tb testing.TB) *pkcs11test.SoftHSM {
	tb.Helper()
	if hsm == nil {
		signertest.Require(tb, "softhsm", "softhsm2-util")
	}
	return hsm
}

func withPIN(pin string) keystore.Options {
	return keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pin), nil }}
}

func ref(t testing.TB, uri, more string) keystore.Ref {
	t.Helper()
	u, err := pkcs11.ParseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	add, err := pkcs11.ParseURI("pkcs11:" + more)
	if err != nil {
		t.Fatal(err)
	}
	u.Object, u.ID, u.Type = add.Object, add.ID, add.Type
	r, err := keystore.ParseRef(u.String())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var keyTypes = []keystore.KeyType{
	keystore.RSA2048, keystore.RSA3072, keystore.P256, keystore.P384, keystore.P521, keystore.Ed25519,
}

func TestContract(t *testing.T) {
	token := softHSM(t).Token(t)
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	var b pkcs11.Backend
	for _, kind := range keyTypes {
		t.Run(string(kind), func(t *testing.T) {
			r := ref(t, token, "object="+string(kind))
			key, err := b.Generate(t.Context(), r, keystore.KeySpec{Type: kind}, withPIN(pkcs11test.PIN))
			if err != nil {
				t.Fatal(err)
			}
			leaf := ca.Issue(t, key, nil)
			if err := key.Close(); err != nil {
				t.Fatal(err)
			}
			if err := b.Install(t.Context(), r, append(ca.Chain(), leaf)[1:], withPIN(pkcs11test.PIN)); err != nil {
				t.Fatal(err)
			}
			if err := b.Install(t.Context(), r, append([]*x509.Certificate{leaf}, ca.Chain()...), withPIN(pkcs11test.PIN)); err != nil {
				t.Fatal(err)
			}
			signertest.Run(t, func(t *testing.T) signer.Signer {
				s, err := b.Open(t.Context(), r, withPIN(pkcs11test.PIN))
				if err != nil {
					t.Fatal(err)
				}
				if n := len(s.Chain()); n != 2 {
					t.Errorf("chain of %d certificates", n)
				}
				return s
			})
		})
	}
}
