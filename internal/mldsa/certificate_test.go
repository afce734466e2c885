package mldsa_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestCertificates(t *testing.T) {
	for _, set := range []string{"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"} {
		t.Run(set, func(t *testing.T) {
			dir := t.TempDir()
			signertest.IssueMLDSA(t, dir, set, "seed-only")
			root, leaf := certificate(t, filepath.Join(dir, "root.pem")), certificate(t, filepath.Join(dir, "cert.pem"))
			rootKey, leafKey := mldsa.OfCertificate(root), mldsa.OfCertificate(leaf)
			if rootKey == nil || leafKey == nil || rootKey.Name != set || rootKey.Equal(leafKey) {
				t.Fatalf("keys %v and %v", rootKey, leafKey)
			}
			if pub := mldsa.PublicKeyOf(leaf); !leafKey.Equal(pub) {
				t.Errorf("PublicKeyOf returned %T", pub)
			}
			for _, c := range []*x509.Certificate{root, leaf} {
				s, ok := mldsa.ParseSigned(c.Raw)
				if !ok || !s.By(rootKey) || s.By(leafKey) {
					t.Errorf("%s: not signed by the root", c.Subject)
				}
			}
		})
	}
}

// Certificates of other algorithms stay what they are.
func TestOtherCertificates(t *testing.T) {
	for _, kind := range signertest.KeyKinds() {
		c := signertest.NewCA(t, "root").Issue(t, signertest.Key(t, kind), nil)
		if key := mldsa.OfCertificate(c); key != nil {
			t.Errorf("%s: key for %s", kind, key.Name)
		}
		if pub := mldsa.PublicKeyOf(c); !reflect.DeepEqual(pub, c.PublicKey) {
			t.Errorf("%s: another key, %T", kind, pub)
		}
		if _, ok := mldsa.SignatureOf(c); ok {
			t.Errorf("%s: signed with ML-DSA", kind)
		}
		if _, ok := mldsa.ParseSigned(c.Raw); ok {
			t.Errorf("%s: parsed", kind)
		}
	}
}

func certificate(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
