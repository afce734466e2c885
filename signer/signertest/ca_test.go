package signertest

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

func TestCA(t *testing.T) {
	root := NewCA(t, "root")
	outer := root.Intermediate(t, "outer")
	inner := outer.Intermediate(t, "inner")

	if root.Chain() != nil || root.Root() != root.Cert {
		t.Error("the chain of a root is not empty, or its root is not its own certificate")
	}
	if !slices.Equal(inner.Chain(), []*x509.Certificate{inner.Cert, outer.Cert}) {
		t.Error("chain is not the issuer followed by its issuer")
	}
	if inner.Root() != root.Cert {
		t.Error("root of an intermediate is not the root")
	}

	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(inner.Root())
	for _, c := range inner.Chain() {
		intermediates.AddCert(c)
	}
	for _, kind := range KeyKinds() {
		leaf := inner.Issue(t, Key(t, kind), nil)
		if _, err := leaf.Verify(x509.VerifyOptions{
			Roots:         roots,
			Intermediates: intermediates,
			KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if !signer.SamePublicKey(leaf.PublicKey, Key(t, kind).Public()) {
			t.Errorf("%s: certificate is for another key", kind)
		}
	}
}

func TestIssue(t *testing.T) {
	ca := NewCA(t, "root")
	leaf := ca.Issue(t, Key(t, "p256"), nil)
	if !leaf.BasicConstraintsValid || leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || leaf.Subject.CommonName != "client" {
		t.Errorf("leaf is not an end entity that Roles Anywhere accepts: %+v", leaf)
	}
	if leaf.Version != 3 || len(leaf.SubjectKeyId) == 0 || !slices.Equal(leaf.AuthorityKeyId, ca.Cert.SubjectKeyId) {
		t.Error("leaf is not X.509 v3 with key identifiers")
	}
	if bits := leaf.SerialNumber.BitLen(); bits < 64 || bits > 128 {
		t.Errorf("serial number has %d bits", bits)
	}
	if d := leaf.NotAfter.Sub(leaf.NotBefore); d != 24*time.Hour || !leaf.NotBefore.Before(time.Now()) {
		t.Errorf("leaf is valid from %v for %v", leaf.NotBefore, d)
	}
	if !ca.Cert.IsCA || ca.Cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		t.Error("the certificate of a CA is not a CA certificate")
	}
	changed := ca.Issue(t, Key(t, "p256"), func(c *x509.Certificate) { c.Subject.CommonName = "other" })
	if changed.Subject.CommonName != "other" || changed.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
		t.Error("mutate had no effect, or two certificates have the same serial number")
	}
}

func TestRevoke(t *testing.T) {
	ca := NewCA(t, "root")
	revoked := ca.Issue(t, Key(t, "p256"), nil)
	list, err := x509.ParseRevocationList(ca.Revoke(t, revoked))
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(ca.Cert); err != nil {
		t.Error(err)
	}
	if len(list.RevokedCertificateEntries) != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(revoked.SerialNumber) != 0 {
		t.Errorf("list contains %v, want only the revoked certificate", list.RevokedCertificateEntries)
	}
	empty, err := x509.ParseRevocationList(ca.Revoke(t))
	if err != nil || len(empty.RevokedCertificateEntries) != 0 {
		t.Errorf("empty list: %v, error %v", empty, err)
	}
}

func TestPEM(t *testing.T) {
	ca := NewCA(t, "root")
	for _, kind := range KeyKinds() {
		key := Key(t, kind)
		leaf := ca.Issue(t, key, nil)
		block, rest := pem.Decode(CertPEM(leaf, ca.Cert))
		if block == nil || block.Type != "CERTIFICATE" || !slices.Equal(block.Bytes, leaf.Raw) {
			t.Errorf("%s: the first block is not the leaf", kind)
		}
		if block, rest = pem.Decode(rest); block == nil || !slices.Equal(block.Bytes, ca.Cert.Raw) || len(rest) != 0 {
			t.Errorf("%s: the last block is not the CA", kind)
		}
		block, _ = pem.Decode(KeyPEM(t, key))
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if !parsed.(interface{ Equal(crypto.PrivateKey) bool }).Equal(key) {
			t.Errorf("%s: the key parsed from PEM differs", kind)
		}
	}
}
