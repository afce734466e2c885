package tpm

import (
	"crypto/x509"
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestCertificates tests certificates in a key file, as docs/references.md
// describes for all files.
func TestCertificates(t *testing.T) {
	m := newMaker(t, newTPM(t))
	file := m.createFile(keystore.P256, CreateConfig{})
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	key, err := Open(t.Context(), Config{PEM: file, Device: m.emulator.Path})
	if err != nil {
		t.Fatal(err)
	}
	leaf := ca.Issue(t, key, nil)
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	other := ca.Issue(t, signertest.Key(t, "p256"), nil)
	for _, c := range []struct {
		name  string
		pem   []byte
		known []*x509.Certificate // Config.Certificates
		want  []*x509.Certificate
	}{
		{"none", file, nil, nil},
		{"leaf", slices.Concat(file, signertest.CertPEM(leaf)), nil, []*x509.Certificate{leaf}},
		{"before the key, in another order, with others", slices.Concat(signertest.CertPEM(other, ca.Cert, leaf, ca.Root()), file), nil, []*x509.Certificate{leaf, ca.Cert}},
		{"of another key", slices.Concat(file, signertest.CertPEM(other)), nil, nil},
		{"from outside", file, []*x509.Certificate{other, ca.Cert, leaf}, []*x509.Certificate{leaf, ca.Cert}},
		{"issuer from outside", slices.Concat(file, signertest.CertPEM(leaf)), []*x509.Certificate{other, ca.Cert}, []*x509.Certificate{leaf, ca.Cert}},
		{"of another key, from outside", file, []*x509.Certificate{other}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{PEM: c.pem, Device: m.emulator.Path, Certificates: c.known}
			key, err := Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer key.Close()
			if !slices.EqualFunc(key.Chain(), c.want, (*x509.Certificate).Equal) {
				t.Errorf("chain of %d certificates, want %d", len(key.Chain()), len(c.want))
			}
		})
	}
}
