package signertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"sync"
	"testing"
)

type keyKind struct {
	name   string
	make   func() (crypto.Signer, error)
	shared func() (crypto.Signer, error) // calls make once per process
}

var keyKinds = []keyKind{
	kind("rsa2048", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }),
	kind("rsa3072", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) }),
	kind("rsa4096", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 4096) }),
	kind("p256", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }),
	kind("p384", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }),
	kind("p521", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) }),
	kind("ed25519", func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}),
}

func kind(name string, make func() (crypto.Signer, error)) keyKind {
	return keyKind{name, make, sync.OnceValues(make)}
}

// KeyKinds returns the key kinds that [Key] and [NewKey] support: rsa2048,
// rsa3072, rsa4096, p256, p384, p521 and ed25519.
func KeyKinds() []string {
	names := make([]string, len(keyKinds))
	for i, k := range keyKinds {
		names[i] = k.name
	}
	return names
}

// Key returns the shared key of a kind, one of [KeyKinds]. All tests of a
// process share it because generating an RSA key takes seconds. A test that
// needs a second key of the same kind uses [NewKey]. Key is safe for concurrent
// use. It fails the test if kind is unknown.
func Key(tb testing.TB, kind string) crypto.Signer {
	tb.Helper()
	return must(tb, findKind(tb, kind).shared)
}

// NewKey generates a new key of a kind, one of [KeyKinds]. It is safe for
// concurrent use. It fails the test if kind is unknown.
func NewKey(tb testing.TB, kind string) crypto.Signer {
	tb.Helper()
	return must(tb, findKind(tb, kind).make)
}

func findKind(tb testing.TB, name string) keyKind {
	tb.Helper()
	for _, k := range keyKinds {
		if k.name == name {
			return k
		}
	}
	tb.Fatalf("signertest: unknown key kind %q; the kinds are %q", name, KeyKinds())
	return keyKind{}
}

func must(tb testing.TB, make func() (crypto.Signer, error)) crypto.Signer {
	tb.Helper()
	key, err := make()
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// CertPEM returns certs as CERTIFICATE blocks, in the given order.
func CertPEM(certs ...*x509.Certificate) []byte {
	var b []byte
	for _, c := range certs {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}

// KeyPEM returns a private key of a standard library type as a PRIVATE KEY
// block (PKCS #8, RFC 5208).
func KeyPEM(tb testing.TB, key crypto.Signer) []byte {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
