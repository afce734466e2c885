package signer_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"go/build"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestFromKey(t *testing.T) {
	for _, kind := range signertest.KeyKinds() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			signertest.Run(t, func(t *testing.T) signer.Signer { return signer.FromKey(signertest.Key(t, kind)) })
		})
	}
}

func TestBind(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	for _, kind := range []string{"rsa2048", "p256", "ed25519"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			signertest.Run(t, func(t *testing.T) signer.Signer {
				key := signertest.Key(t, kind)
				s, err := signer.Bind(signer.FromKey(key), []*x509.Certificate{ca.Root(), ca.Cert, ca.Issue(t, key, nil)}, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				if len(s.Chain()) != 2 {
					t.Fatalf("chain is %q", names(s.Chain()))
				}
				return s
			})
		})
	}
}

func TestBindForwardsSchemes(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "rsa2048")
	certs := []*x509.Certificate{ca.Issue(t, key, nil)}
	schemes := []tls.SignatureScheme{tls.PKCS1WithSHA256}
	open := func(t *testing.T) signer.Signer {
		s, err := signer.Bind(&signertest.LimitedFake{Fake: signertest.Fake{Key: key}, Schemes: schemes}, certs, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	signertest.Run(t, open)
	if l, ok := open(t).(signer.SchemeLimiter); !ok || !slices.Equal(l.SignatureSchemes(), schemes) {
		t.Error("a bound SchemeLimiter lost its schemes")
	}
	unlimited, err := signer.Bind(&signertest.Fake{Key: key}, certs, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := unlimited.(signer.SchemeLimiter); ok {
		t.Error("Bind turned an unlimited Signer into a SchemeLimiter")
	}
}

func TestBindOwnsSigner(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	fake := &signertest.Fake{Key: signertest.Key(t, "p256")}
	for _, test := range []struct {
		certs []*x509.Certificate
		want  error
	}{
		{nil, signer.ErrNoCertificate},
		{[]*x509.Certificate{ca.Cert}, signer.ErrMismatch},
	} {
		if s, err := signer.Bind(fake, test.certs, time.Now()); s != nil || !errors.Is(err, test.want) {
			t.Errorf("Bind to %q: %v, error %v; want %v", names(test.certs), s, err, test.want)
		}
	}
	if fake.Closes() != 0 {
		t.Error("Bind failed and closed the Signer")
	}
	if _, err := fake.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
		t.Error(err)
	}
	s, err := signer.Bind(fake, []*x509.Certificate{ca.Issue(t, fake.Key, nil)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil || fake.Closes() != 1 {
		t.Errorf("Close: error %v, and the Signer was closed %d times", err, fake.Closes())
	}
}

func TestTLSCertificate(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	key := signertest.Key(t, "rsa2048")
	fake := signertest.Fake{Key: key}
	if _, err := signer.TLSCertificate(&fake); !errors.Is(err, signer.ErrNoCertificate) {
		t.Errorf("no chain: error %v, want ErrNoCertificate", err)
	}

	leaf := ca.Issue(t, key, nil)
	limited := &signertest.LimitedFake{Schemes: []tls.SignatureScheme{tls.PKCS1WithSHA256}}
	limited.Key, limited.Certificates = key, []*x509.Certificate{leaf, ca.Cert}
	for _, test := range []struct {
		signer  signer.Signer
		schemes []tls.SignatureScheme
	}{{&limited.Fake, nil}, {limited, limited.Schemes}} {
		cert, err := signer.TLSCertificate(test.signer)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(cert.Certificate, [][]byte{leaf.Raw, ca.Cert.Raw}, bytes.Equal) || cert.Leaf != leaf {
			t.Errorf("%T: certificates are not the Signer's chain", test.signer)
		}
		if cert.PrivateKey != crypto.PrivateKey(test.signer) {
			t.Errorf("%T: private key is not the Signer", test.signer)
		}
		if !slices.Equal(cert.SupportedSignatureAlgorithms, test.schemes) {
			t.Errorf("%T: schemes %v, want %v", test.signer, cert.SupportedSignatureAlgorithms, test.schemes)
		}
	}
	if limited.Closes() != 0 {
		t.Error("TLSCertificate closed the borrowed Signer")
	}
}

func TestDescribeKey(t *testing.T) {
	for kind, want := range map[string]string{
		"rsa3072": "RSA-3072", "p384": "ECDSA P-384", "ed25519": "Ed25519",
	} {
		if got := signer.DescribeKey(signertest.Key(t, kind).Public()); got != want {
			t.Errorf("%s is %q, want %q", kind, got, want)
		}
	}
	if signer.DescribeKey(nil) == "" {
		t.Error("the description of a nil key is empty")
	}
}

// A program can accept a Signer without linking a backend.
func TestImportsStandardLibraryOnly(t *testing.T) {
	const internal = "github.com/holdfast-dev/holdfast/internal/"
	own := []string{internal + "algorithm", internal + "certpath", internal + "mldsa"}
	for _, dir := range []string{".", "../internal/certpath", "../internal/mldsa", "../internal/algorithm"} {
		pkg, err := build.ImportDir(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(pkg.Imports) == 0 {
			t.Fatalf("no imports found in %s", dir)
		}
		for _, path := range pkg.Imports {
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && !slices.Contains(own, path) {
				t.Errorf("package %s imports %s", pkg.Name, path)
			}
		}
	}
}

// fmt prints a value deeply if its type does not know the verb.
func TestFormatOfKey(t *testing.T) {
	key := signertest.Key(t, "ed25519").(ed25519.PrivateKey)
	s := signer.FromKey(key)
	decimal := strings.Trim(fmt.Sprint([]byte(key[:8])), "[]")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for _, wrapped := range []signer.Signer{s, signer.WithCertificates(s, signer.Certificates{}), signer.WithContext(t.Context(), s)} {
			text := fmt.Sprintf(verb, wrapped)
			for _, secret := range []string{decimal, hex.EncodeToString(key[:8]), fmt.Sprintf("%#v", []byte(key[:8]))[8:50]} {
				if strings.Contains(text, secret) {
					t.Errorf("%s of %T prints the key", verb, wrapped)
				}
			}
		}
	}
	if got := fmt.Sprint(s); got != "Ed25519 key" {
		t.Errorf("%q", got)
	}
}
