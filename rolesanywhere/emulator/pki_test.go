package emulator

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"
)

// testNow is the emulator's time, unless a test sets another clock.
var testNow = time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func ecKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A certKey is a certificate with its key.
type certKey struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (p certKey) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
}

func caTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Test"}},
		NotBefore:             testNow.Add(-24 * time.Hour),
		NotAfter:              testNow.Add(24 * time.Hour),
		BasicConstraintsValid: true,
		IsCA:                  true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func leafTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(0xabc),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    testNow.Add(-time.Hour),
		NotAfter:     testNow.Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func newRoot(t testing.TB, template *x509.Certificate) certKey {
	t.Helper()
	key := ecKey(t, elliptic.P256())
	return certKey{certify(t, template, template, key.Public(), key), key}
}

func newRSARoot(t testing.TB) certKey {
	t.Helper()
	template := caTemplate("RSA root")
	return certKey{certify(t, template, template, rsaKey().Public(), rsaKey()), rsaKey()}
}

// issue issues a certificate for a new P-256 key.
func (p certKey) issue(t testing.TB, template *x509.Certificate) certKey {
	t.Helper()
	key := ecKey(t, elliptic.P256())
	return certKey{p.certify(t, template, key.Public()), key}
}

func (p certKey) certify(t testing.TB, template *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	return certify(t, template, p.cert, pub, p.key)
}

func certify(t testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, der)
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// crl returns a revocation list with the given serial numbers.
func (p certKey) crl(t testing.TB, serials ...int64) []byte {
	t.Helper()
	template := &x509.RevocationList{
		Number:     big.NewInt(1),
		ThisUpdate: testNow.Add(-time.Hour),
		NextUpdate: testNow.Add(time.Hour),
	}
	for _, n := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: testNow.Add(-time.Hour)})
	}
	return p.revoke(t, template)
}

func (p certKey) revoke(t testing.TB, template *x509.RevocationList) []byte {
	t.Helper()
	issuer := *p.cert
	issuer.KeyUsage |= x509.KeyUsageCRLSign // required by CreateRevocationList
	der, err := x509.CreateRevocationList(rand.Reader, template, &issuer, p.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// version1 issues an X.509 version 1 certificate, which crypto/x509 cannot
// create.
func (p certKey) version1(t testing.TB, template *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	type validity struct{ NotBefore, NotAfter time.Time }
	type certificate struct {
		TBS struct {
			Raw          asn1.RawContent
			Version      int `asn1:"optional,explicit,default:0,tag:0"`
			SerialNumber *big.Int
			Algorithm    pkix.AlgorithmIdentifier
			Issuer       asn1.RawValue
			Validity     validity
			Subject      asn1.RawValue
			PublicKey    asn1.RawValue
			Extensions   []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
		}
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}
	var c certificate
	if _, err := asn1.Unmarshal(p.certify(t, template, pub).Raw, &c); err != nil {
		t.Fatal(err)
	}
	c.TBS.Raw, c.TBS.Version, c.TBS.Extensions = nil, 0, nil
	tbs, err := asn1.Marshal(c.TBS)
	if err != nil {
		t.Fatal(err)
	}
	c.TBS.Raw = tbs
	digest := sha256.Sum256(tbs)
	c.Signature.Bytes, err = p.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	c.Signature.BitLength = 8 * len(c.Signature.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, der)
}
