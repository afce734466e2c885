package pkcs11

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestFindKey has the ways in which keys and certificates on a token refer to
// each other.
func TestFindKey(t *testing.T) {
	a, other := signertest.Key(t, "p256"), signertest.NewKey(t, "p256")
	certA, certOther := issue(t, a), issue(t, other)
	begin := certA.NotBefore
	named := func(key crypto.Signer, cn string, issued time.Time) []byte {
		return signertest.NewCA(t, "ca").Issue(t, key, func(c *x509.Certificate) {
			c.Subject, c.NotBefore, c.SerialNumber = pkix.Name{CommonName: cn}, issued, big.NewInt(1)
			if key == a {
				c.SerialNumber = big.NewInt(2)
			}
		}).Raw
	}
	// renewal adds two keys with one label, and certificates of both.
	renewal := func(token *fakeToken, certA, certOther []byte) {
		token.addKey(other, "a", "\x02")
		token.addKey(a, "a", "\x01")
		token.addCertificate(certOther, "a", "\x02")
		token.addCertificate(certA, "a", "\x01")
	}
	type build func(*fakeToken)
	for _, test := range []struct {
		name, uri string
		build     build
		known     []*x509.Certificate
		want      error // nil: the key is a
	}{
		{"the only one", "pkcs11:", func(t *fakeToken) { t.addKey(a, "a", "\x01") }, nil, nil},
		{"by label", "pkcs11:object=a", func(t *fakeToken) { t.addKey(a, "a", "\x01"); t.addKey(other, "b", "\x02") }, nil, nil},
		{"by ID", "pkcs11:id=%01", func(t *fakeToken) { t.addKey(a, "a", "\x01"); t.addKey(other, "a", "\x02") }, nil, nil},
		{"by label and ID", "pkcs11:id=%01;object=a", func(t *fakeToken) { t.addKey(a, "a", "\x01"); t.addKey(other, "b", "\x01") }, nil, nil},
		{"by the certificate's label and ID", "pkcs11:object=cert", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addKey(other, "b", "\x02")
			t.addCertificate(certA.Raw, "cert", "\x01")
		}, nil, nil},
		{"by the certificate, with type=cert", "pkcs11:object=cert;type=cert", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addKey(other, "cert", "\x02")
			t.addCertificate(certA.Raw, "cert", "\x01")
		}, nil, nil},
		{"by the certificate's label alone", "pkcs11:id=%09", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addKey(other, "b", "\x02")
			t.addCertificate(certA.Raw, "a", "\x09")
		}, nil, nil},
		{"by the certificate's public key", "pkcs11:id=%09", func(t *fakeToken) {
			t.addKey(other, "b", "\x02")
			t.addKey(a, "a", "\x01")
			t.addCertificate(certA.Raw, "", "\x09")
		}, nil, nil},
		{"by a certificate from outside", "pkcs11:", func(t *fakeToken) { t.addKey(other, "b", "\x02"); t.addKey(a, "a", "\x01") }, []*x509.Certificate{certA}, nil},
		{"public key from a certificate with its ID", "pkcs11:", func(t *fakeToken) {
			t.addPrivate(a, "a", "\x01")
			t.addCertificate(certOther.Raw, "other", "\x02")
			t.addCertificate(certA.Raw, "cert", "\x01")
		}, nil, nil},
		{"a certificate of another type with its ID", "pkcs11:", func(token *fakeToken) {
			token.addPrivate(a, "a", "\x01")
			token.addCertificate(issue(t, signertest.Key(t, "rsa2048")).Raw, "rsa", "\x01")
			token.addCertificate(certA.Raw, "cert", "\x01")
		}, nil, nil},
		{"public key from a certificate from outside", "pkcs11:", func(t *fakeToken) { t.addPrivate(a, "", "") }, []*x509.Certificate{certA}, nil},
		{"public key from CKA_PUBLIC_KEY_INFO", "pkcs11:", func(token *fakeToken) {
			der, err := x509.MarshalPKIXPublicKey(a.Public())
			if err != nil {
				t.Fatal(err)
			}
			token.addPrivate(a, "", "").values[ckaPublicKeyInfo] = der
		}, nil, nil},
		{"CKA_PUBLIC_KEY_INFO of another type", "pkcs11:", func(token *fakeToken) {
			der, err := x509.MarshalPKIXPublicKey(signertest.Key(t, "ed25519").Public())
			if err != nil {
				t.Fatal(err)
			}
			token.addKey(a, "a", "\x01").values[ckaPublicKeyInfo] = der
		}, nil, nil},
		{"an unreadable certificate of another key", "pkcs11:", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addCertificate(certOther.Raw, "other", "\x02").broken = ckrFunctionFailed
		}, nil, nil},
		{"an unreadable certificate, general error", "pkcs11:", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addCertificate(certOther.Raw, "other", "\x02").broken = ckrGeneralError
		}, nil, nil},
		{"an unreadable and a readable certificate", "pkcs11:", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addCertificate(certOther.Raw, "other", "\x02").broken = ckrGeneralError
			t.addCertificate(certA.Raw, "a", "\x01")
		}, nil, nil},
		{"an unreadable other key", "pkcs11:", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addKey(other, "b", "\x02").broken = ckrFunctionFailed
		}, nil, nil},
		{"only an unreadable key", "pkcs11:", func(t *fakeToken) { t.addKey(a, "a", "\x01").broken = ckrFunctionFailed }, nil, ckrFunctionFailed},
		{"two keys, and certificates for both from outside", "pkcs11:", func(t *fakeToken) { t.addKey(a, "a", "\x01"); t.addKey(other, "b", "\x02") },
			[]*x509.Certificate{certA, certOther}, signer.ErrAmbiguous},
		{"two with the same label", "pkcs11:object=a", func(t *fakeToken) { t.addKey(a, "a", "\x01"); t.addKey(other, "a", "\x02") }, nil, signer.ErrAmbiguous},
		{"a key and its successor", "pkcs11:object=a", func(token *fakeToken) {
			renewal(token, named(a, "app", begin.Add(time.Second)), named(other, "app", begin))
		}, nil, nil},
		{"a successor that has ended", "pkcs11:object=a", func(token *fakeToken) {
			ended := signertest.NewCA(t, "ca").Issue(t, a, func(c *x509.Certificate) {
				c.Subject, c.NotBefore, c.NotAfter = pkix.Name{CommonName: "app"}, begin.Add(time.Second), begin.Add(time.Minute)
			})
			renewal(token, ended.Raw, named(other, "app", begin))
		}, nil, nil},
		{"a successor without a certificate", "pkcs11:object=a", func(token *fakeToken) {
			token.addKey(other, "a", "\x02")
			token.addKey(a, "a", "\x01")
			token.addCertificate(named(a, "app", begin), "a", "\x01")
		}, nil, nil},
		{"two keys of one second", "pkcs11:object=a", func(token *fakeToken) {
			renewal(token, named(a, "app", begin), named(other, "app", begin))
		}, nil, nil},
		{"two keys with one label for two subjects", "pkcs11:object=a", func(token *fakeToken) {
			renewal(token, named(a, "app", begin.Add(time.Second)), named(other, "db", begin))
		}, nil, signer.ErrAmbiguous},
		{"two keys for one subject, without a label", "pkcs11:", func(token *fakeToken) {
			renewal(token, named(a, "app", begin.Add(time.Second)), named(other, "app", begin))
		}, nil, signer.ErrAmbiguous},
		{"two certificates, type=cert", "pkcs11:type=cert", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addKey(other, "b", "\x02")
			t.addCertificate(certA.Raw, "a", "\x01")
			t.addCertificate(certOther.Raw, "b", "\x02")
		}, nil, signer.ErrAmbiguous},
		{"an old certificate and the new one", "pkcs11:type=cert", func(t *fakeToken) {
			t.addKey(a, "a", "\x01")
			t.addCertificate(certA.Raw, "a", "\x01")
			t.addCertificate(certA.Raw, "a", "\x01")
		}, nil, nil},
		{"none", "pkcs11:", func(*fakeToken) {}, nil, signer.ErrNotFound},
		{"none with this label", "pkcs11:object=b", func(t *fakeToken) { t.addKey(a, "a", "\x01") }, nil, signer.ErrNotFound},
		{"a prefix of the ID", "pkcs11:id=%01", func(t *fakeToken) { t.addKey(a, "a", "\x01\x02") }, nil, signer.ErrNotFound},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := newFakeToken("hsm")
			test.build(token)
			b := newFixture(t, token)
			k, err := b.open(t, test.uri, Config{PIN: fixedPIN(fakePIN), Certificates: test.known})
			if test.want != nil {
				if !errors.Is(err, test.want) || test.want == signer.ErrNotFound && signer.Hint(err) == "" {
					t.Errorf("error %v with hint %q, want %v", err, signer.Hint(err), test.want)
				}
				return
			}
			if err != nil {
				t.Fatalf("%v\nhint: %s", err, signer.Hint(err))
			}
			defer k.Close()
			if !signer.SamePublicKey(k.Public(), a.Public()) {
				t.Error("another key was found")
			}
			if err := signOnce(k); err != nil {
				t.Error(err)
			}
			if c := k.Chain(); len(c) > 0 && !signer.SamePublicKey(c[0].PublicKey, a.Public()) {
				t.Error("the chain belongs to another key")
			}
		})
	}
}

func TestNoPublicKey(t *testing.T) {
	token := newFakeToken("hsm")
	token.addPrivate(signertest.Key(t, "p256"), "a", "\x01")
	b := newFixture(t, token)
	for _, known := range [][]*x509.Certificate{nil, {issue(t, signertest.Key(t, "rsa2048"))}, {signertest.NewCA(t, "root").Cert}} {
		if _, err := b.open(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN), Certificates: known}); err == nil || signer.Hint(err) == "" {
			t.Errorf("error %v, hint %q", err, signer.Hint(err))
		}
	}
}
