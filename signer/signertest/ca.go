package signertest

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"testing"
	"time"
)

// A CA is a certificate authority for tests. Its certificate meets the
// requirements of IAM Roles Anywhere: X.509 v3, CA:TRUE, keyCertSign and
// cRLSign, signed with SHA-256. Its methods are safe for concurrent use. Its
// fields must not be changed.
type CA struct {
	Cert *x509.Certificate
	Key  crypto.Signer

	parent *CA // nil for a root
}

// NewCA returns a root CA with a new P-256 key and the given common name. Its
// certificate is valid for ten years, starting one hour ago.
func NewCA(tb testing.TB, name string) *CA {
	tb.Helper()
	return newCA(tb, nil, name)
}

// Intermediate returns a CA whose certificate ca issued. Its key, name and
// validity are as in [NewCA].
func (ca *CA) Intermediate(tb testing.TB, name string) *CA {
	tb.Helper()
	return newCA(tb, ca, name)
}

func newCA(tb testing.TB, parent *CA, name string) *CA {
	tb.Helper()
	ca := &CA{Key: NewKey(tb, "p256"), parent: parent}
	template := newTemplate(tb, ca.Key.Public(), name)
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	template.NotAfter = template.NotBefore.AddDate(10, 0, 0)
	issuer := parent
	if issuer == nil {
		issuer = &CA{Cert: template, Key: ca.Key}
	}
	ca.Cert = issuer.create(tb, template, ca.Key.Public())
	return ca
}

// Issue issues a certificate for key; it uses only the public key. By default,
// the certificate is for the end entity "client": CA:FALSE, digitalSignature,
// clientAuth, a random serial number of at most 128 bits, key identifiers, and
// valid for 24 hours, starting one hour ago. mutate, unless nil, can change
// this template.
func (ca *CA) Issue(tb testing.TB, key crypto.Signer, mutate func(*x509.Certificate)) *x509.Certificate {
	tb.Helper()
	template := newTemplate(tb, key.Public(), "client")
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if mutate != nil {
		mutate(template)
	}
	return ca.create(tb, template, key.Public())
}

// Chain returns the chain of a certificate that ca issued: ca's certificate and
// the intermediates above it, issuer first, without the root. It is nil for a
// root.
func (ca *CA) Chain() []*x509.Certificate {
	var chain []*x509.Certificate
	for ; ca.parent != nil; ca = ca.parent {
		chain = append(chain, ca.Cert)
	}
	return chain
}

// Root returns the self-signed certificate at the top of ca's chain.
func (ca *CA) Root() *x509.Certificate {
	for ca.parent != nil {
		ca = ca.parent
	}
	return ca.Cert
}

// Revoke returns a CRL of ca that lists certs, in DER. It is valid for 24
// hours, starting one hour ago.
func (ca *CA) Revoke(tb testing.TB, certs ...*x509.Certificate) []byte {
	tb.Helper()
	now := time.Now()
	list := &x509.RevocationList{
		Number:     big.NewInt(now.UnixNano()), // must increase (RFC 5280, section 5.2.3)
		ThisUpdate: now.Add(-time.Hour),
		NextUpdate: now.Add(23 * time.Hour),
	}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: now})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.Cert, ca.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

func (ca *CA) create(tb testing.TB, template *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, pub, ca.Key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func newTemplate(tb testing.TB, pub crypto.PublicKey, name string) *x509.Certificate {
	tb.Helper()
	// RFC 5280, section 4.1.2.2: positive, at most 20 bytes.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		tb.Fatal(err)
	}
	notBefore := time.Now().Add(-time.Hour)
	return &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             notBefore,
		NotAfter:              notBefore.Add(24 * time.Hour),
		BasicConstraintsValid: true,
		SubjectKeyId:          keyID(tb, pub),
	}
}

// keyID returns the key identifier of method 1 in RFC 7093, section 2.
func keyID(tb testing.TB, pub crypto.PublicKey) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256(info.Key.Bytes)
	return sum[:20]
}
