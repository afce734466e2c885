//go:build cgo

package pkcs11_test

import (
	"crypto/x509"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func only(certs ...*x509.Certificate) keystore.Installation {
	return keystore.Installation{Certificates: certs}
}

// Install keeps the old certificates without Replace, and removes them with it.
// Open uses the one that expires last.
func TestInstallRenewed(t *testing.T) {
	token := softHSM(t).Token(t)
	var b pkcs11.Backend
	r := ref(t, token, "object=a")
	key, err := b.Generate(t.Context(), r, keystore.KeySpec{Type: keystore.P256}, withPIN(pkcs11test.PIN))
	if err != nil {
		t.Fatal(err)
	}
	ca := signertest.NewCA(t, "root")
	var leaves []*x509.Certificate
	for _, days := range []int{1, 3, 2, 1} {
		leaves = append(leaves, ca.Issue(t, key, func(c *x509.Certificate) { c.NotAfter = c.NotBefore.AddDate(0, 0, days) }))
	}
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		replace             bool
		kept, removed, used int
	}{{false, 0, 0, 0}, {false, 1, 0, 1}, {false, 2, 0, 1}, {true, 0, 3, 3}} {
		done, err := b.Install(t.Context(), r, keystore.Installation{Certificates: leaves[i : i+1], Replace: step.replace}, withPIN(pkcs11test.PIN))
		if err != nil {
			t.Fatalf("certificate %d: %v", i, err)
		}
		if len(done.Kept) != step.kept || len(done.Removed) != step.removed || (done.Preferred != nil) != (step.used != i) {
			t.Errorf("certificate %d: %+v", i, done)
		}
		entries, err := b.List(t.Context(), ref(t, token, ""), keystore.Call{})
		if err != nil {
			t.Fatal(err)
		}
		if want := 2 + step.kept; len(entries) != want { // the token, and the certificates
			t.Errorf("certificate %d: %d entries, want %d", i, len(entries), want)
		}
		for _, name := range []string{"object=a", "type=cert", "object=a;type=cert"} {
			s, err := b.Open(t.Context(), ref(t, token, name), withPIN(pkcs11test.PIN))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if c := s.Chain(); len(c) != 1 || !c[0].Equal(leaves[step.used]) {
				t.Errorf("%s: wrong chain of %d certificates", name, len(c))
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		if c, err := b.Certificates(t.Context(), done.Certificate, withPIN(pkcs11test.PIN)); err != nil || len(c) != 1+step.kept {
			t.Errorf("%s: %d certificates, error %v", done.Certificate, len(c), err)
		}
	}
}
