package pkcs11

import (
	"crypto"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// signAny signs something suitable for a key of any type.
func signAny(k *Key) ([]byte, error) {
	var opts crypto.SignerOpts = crypto.SHA256
	if strings.Contains(signer.DescribeKey(k.Public()), "25519") {
		opts = crypto.Hash(0)
	}
	return k.Sign(nil, digestOf(0), opts)
}

// Another private key than that of the certificate never signs, wherever the
// public key comes from.
func TestAnotherKeyNeverSigns(t *testing.T) {
	for _, kind := range []string{"p256", "p384", "rsa2048", "ed25519"} {
		named, other := signertest.Key(t, kind), signertest.NewKey(t, kind)
		cert := issue(t, named)
		for from, put := range map[string]func(*fakeToken) []*x509.Certificate{
			"a given certificate": func(*fakeToken) []*x509.Certificate { return []*x509.Certificate{cert} },
			"a certificate on the token": func(token *fakeToken) []*x509.Certificate {
				token.addCertificate(cert.Raw, "app", "\x01")
				return nil
			},
			"a public key object": func(token *fakeToken) []*x509.Certificate {
				token.addKey(named, "app", "\x01")
				token.objects = token.objects[:len(token.objects)-1] // without the private key
				return nil
			},
		} {
			token := newFakeToken("card")
			known := put(token)
			token.addPrivate(other, "app", "\x01")
			k := newFixture(t, token).mustOpen(t, "pkcs11:object=app", Config{PIN: fixedPIN(fakePIN), Certificates: known})
			if !signer.SamePublicKey(k.Public(), named.Public()) {
				t.Fatalf("%s, %s: the public key is not that of the certificate", kind, from)
			}
			for range 2 {
				if sig, err := signAny(k); sig != nil || !errors.Is(err, signer.ErrMismatch) || !strings.Contains(signer.Hint(err), "List with the reference 'pkcs11:") {
					t.Errorf("%s, %s: %x, error %v, hint %q, want signer.ErrMismatch", kind, from, sig, err, signer.Hint(err))
				}
			}
		}
	}
}

// The first signature after each loss of the token is verified, too: the token
// that comes back can have another key under the same name.
func TestAnotherKeyAfterLoss(t *testing.T) {
	key, other := signertest.Key(t, "p256"), signertest.NewKey(t, "p256")
	for name, lose := range map[string]func(*fixture, *fakeToken){
		"removed":     func(b *fixture, token *fakeToken) { b.remove(0); b.insert(0, token) },
		"logged out":  func(_ *fixture, token *fakeToken) { token.loggedIn = false },
		"reset":       func(b *fixture, _ *fakeToken) { b.fail("sign", ckrDeviceRemoved) },
		"key renewed": func(b *fixture, _ *fakeToken) { b.fail("sign", ckrKeyHandleInvalid) },
	} {
		token := newFakeToken("card")
		token.addPrivate(key, "app", "\x01")
		b := newFixture(t, token)
		k := b.mustOpen(t, "pkcs11:object=app", Config{PIN: fixedPIN(fakePIN), Certificates: []*x509.Certificate{issue(t, key)}})
		for range 2 {
			if err := signOnce(k); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		token.objects = nil
		token.addPrivate(other, "app", "\x01")
		b.renumber(token)
		lose(b, token)
		if sig, err := signAny(k); sig != nil || !errors.Is(err, signer.ErrMismatch) {
			t.Errorf("%s: %x, error %v, want signer.ErrMismatch", name, sig, err)
		}
		token.objects = nil
		token.addPrivate(key, "app", "\x01")
		b.renumber(token)
		if err := signOnce(k); err != nil {
			t.Errorf("%s: with the right key again: %v", name, err)
		}
	}
}

// If nothing but a signature can tell which key is meant, one decides.
func TestSignatureChooses(t *testing.T) {
	a, b, c := signertest.Key(t, "p256"), signertest.NewKey(t, "p256"), signertest.NewKey(t, "p256")
	certA, certB, certC := issue(t, a), issue(t, b), issue(t, c)
	rsa, rsa2 := signertest.Key(t, "rsa2048"), signertest.NewKey(t, "rsa2048")
	always := func(o *fakeObject) { o.values[ckaAlwaysAuthenticate] = []byte{1} }
	for _, test := range []struct {
		name  string
		put   func(*fakeToken)
		known []*x509.Certificate
		want  crypto.Signer // nil: ambiguous
	}{
		{"several certificates", func(t *fakeToken) { t.addPrivate(a, "app", "\x01") }, []*x509.Certificate{certB, certA, certC}, a},
		{"several certificates on the token", func(t *fakeToken) {
			t.addCertificate(certB.Raw, "old", "\x01")
			t.addCertificate(certA.Raw, "new", "\x01")
			t.addPrivate(a, "app", "\x01")
		}, nil, a},
		{"several public keys with the same ID", func(t *fakeToken) {
			t.addKey(b, "app", "\x01")
			t.objects = t.objects[:1]
			t.addKey(a, "app", "\x01")
		}, nil, a},
		{"several private keys with the same ID and label", func(t *fakeToken) {
			t.addPrivate(b, "app", "\x01")
			t.addPrivate(a, "app", "\x01")
		}, []*x509.Certificate{certA}, a},
		{"the same with public keys", func(t *fakeToken) { t.addKey(b, "app", "\x01"); t.addKey(a, "app", "\x01") }, []*x509.Certificate{certA}, a},
		{"the same with RSA", func(t *fakeToken) { t.addPrivate(rsa2, "app", "\x01"); t.addPrivate(rsa, "app", "\x01") }, []*x509.Certificate{certB, issue(t, rsa)}, rsa},
		{"several certificates, none of the key", func(t *fakeToken) { t.addPrivate(a, "app", "\x01") }, []*x509.Certificate{certB, certC}, nil},
		{"several private keys, none of the certificate", func(t *fakeToken) {
			t.addPrivate(a, "app", "\x01")
			t.addPrivate(b, "app", "\x01")
		}, []*x509.Certificate{certC}, nil},
		{"several private keys without a certificate", func(t *fakeToken) { t.addPrivate(a, "app", "\x01"); t.addPrivate(b, "app", "\x01") }, nil, nil},
		{"two keys that both have a certificate", func(t *fakeToken) {
			t.addPrivate(a, "app", "\x01")
			t.addPrivate(b, "app", "\x01")
		}, []*x509.Certificate{certA, certB}, nil},
		{"a PIN for each signature", func(t *fakeToken) { always(t.addPrivate(a, "app", "\x01")) }, []*x509.Certificate{certB, certA}, nil},
	} {
		token := newFakeToken("card")
		test.put(token)
		f := newFixture(t, token)
		k, err := f.open(t, "pkcs11:object=app", Config{PIN: fixedPIN(fakePIN), Certificates: test.known})
		if test.want == nil {
			if !errors.Is(err, signer.ErrAmbiguous) || signer.Hint(err) == "" {
				t.Errorf("%s: error %v, want signer.ErrAmbiguous with a hint", test.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if !signer.SamePublicKey(k.Public(), test.want.Public()) {
			t.Errorf("%s: another key was chosen", test.name)
		}
		if err := signOnce(k); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		k.Close()
	}
}

func TestCertificateOfAnotherKey(t *testing.T) {
	key, cert, other := signertest.Key(t, "p256"), issue(t, signertest.Key(t, "p256")), issue(t, signertest.NewKey(t, "p256"))
	for _, test := range []struct {
		given []*x509.Certificate
		warns bool
	}{{nil, false}, {[]*x509.Certificate{cert}, false}, {[]*x509.Certificate{other, cert}, false}, {[]*x509.Certificate{other}, true}} {
		token := newFakeToken("card")
		token.addKey(key, "app", "\x01")
		b := newFixture(t, token)
		var log strings.Builder
		k, err := openGiven(t.Context(), Config{Module: b.path, PIN: fixedPIN(fakePIN), Certificates: test.given, Logger: slog.New(slog.NewTextHandler(&log, nil))}, b.table)
		if err != nil {
			t.Fatal(err)
		}
		k.Close()
		if warned := strings.Contains(log.String(), "none of the given certificates is for the key"); warned != test.warns {
			t.Errorf("%d certificates: log %q", len(test.given), &log)
		}
	}
}
