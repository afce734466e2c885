package tpm

import (
	"crypto/x509"
	"errors"
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestCertificates has certificates in a key's file, as docs/references.md has
// it for all files.
func TestCertificates(t *testing.T) {
	m := newMaker(t, newTPM(t))
	file := m.made(keystore.P256, CreateConfig{})
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
		name string
		pem  []byte
		want []*x509.Certificate
		err  error
	}{
		{"none", file, nil, nil},
		{"leaf", slices.Concat(file, signertest.CertPEM(leaf)), []*x509.Certificate{leaf}, nil},
		{"before the key, in another order, with others", slices.Concat(signertest.CertPEM(other, ca.Cert, leaf, ca.Root()), file), []*x509.Certificate{leaf, ca.Cert}, nil},
		{"another key's", slices.Concat(file, signertest.CertPEM(other)), nil, signer.ErrMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{PEM: c.pem, Device: m.emulator.Path}
			if c.err != nil {
				cfg.Device = "/dev/none" // the TPM is not asked
			}
			key, err := Open(t.Context(), cfg)
			if !errors.Is(err, c.err) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if err != nil {
				return
			}
			defer key.Close()
			if !slices.EqualFunc(key.Chain(), c.want, (*x509.Certificate).Equal) {
				t.Errorf("chain of %d certificates, want %d", len(key.Chain()), len(c.want))
			}
		})
	}
}
