package file_test

import (
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A key file may contain certificates of other keys. It gives its key; another
// reference gives the certificate.
func TestCertificatesOfOtherKeys(t *testing.T) {
	k := newKit(t)
	key, other := signertest.Key(t, "p256"), signertest.NewKey(t, "p256")
	ca := signertest.NewCA(t, "root")
	issuing := ca.Intermediate(t, "issuing")
	leaf, foreign := issuing.Issue(t, key, nil), issuing.Issue(t, other, nil)
	k.write("cert.pem", signertest.CertPEM(leaf))
	k.write("other.key", signertest.KeyPEM(t, other))
	k.write("foreign.pem", signertest.CertPEM(foreign))
	files := map[string][]*x509.Certificate{
		"key-and-root.pem":         {ca.Cert},
		"key-and-intermediate.pem": {issuing.Cert, ca.Cert},
		"key-and-foreign.pem":      {foreign, issuing.Cert},
	}
	for name, certs := range files {
		k.write(name, signertest.KeyPEM(t, key), signertest.CertPEM(certs...))
	}
	k.openssl("pkcs12 -export -inkey {other.key} -in {foreign.pem} -out {pair.p12} -passout pass:")
	for name, certs := range files {
		checkOpens(t, k.ref(name), key.Public(), keystore.Options{})
		id := keystore.Identity{Key: k.ref(name), Certificate: k.ref("cert.pem")}
		s, err := store.OpenIdentity(t.Context(), id, keystore.Options{})
		if err != nil || !s.Chain()[0].Equal(leaf) {
			t.Errorf("%s with a certificate: %v", name, err)
		}
		_, err = store.OpenIdentity(t.Context(), keystore.Identity{Key: k.ref(name)}, keystore.Options{})
		if !errors.Is(err, signer.ErrNoCertificate) || !errors.Is(err, signer.ErrMismatch) || !strings.Contains(err.Error(), name) || !strings.Contains(signer.Hint(err), "Identity.Certificate") {
			t.Errorf("%s alone: error %v, hint %q", name, err, signer.Hint(err))
		}
		for _, pub := range []any{key.Public(), certs[0].PublicKey} {
			if !strings.Contains(err.Error(), signer.Fingerprint(pub)) {
				t.Errorf("%s alone: error %v lacks the fingerprint %s", name, err, signer.Fingerprint(pub))
			}
		}
	}
	id := keystore.Identity{Key: k.ref("pair.p12"), Certificate: k.ref("cert.pem")}
	if _, err := store.OpenIdentity(t.Context(), id, keystore.Options{}); !errors.Is(err, signer.ErrMismatch) || errors.Is(err, signer.ErrNoCertificate) ||
		!strings.Contains(err.Error(), signer.Fingerprint(key.Public())) || !strings.Contains(err.Error(), signer.Fingerprint(other.Public())) {
		t.Errorf("PKCS #12 with the certificate of another key: %v", err)
	}
}

// The fingerprint is the one that openssl prints.
func TestFingerprint(t *testing.T) {
	for _, kind := range []string{"p256", "rsa2048", "ed25519"} {
		k := newKit(t)
		key := signertest.Key(t, kind)
		k.write("key", signertest.KeyPEM(t, key))
		k.openssl("pkey -in {key} -pubout -outform DER -out {pub}")
		k.openssl("dgst -sha256 -hex -out {sum} {pub}")
		if want := signer.Fingerprint(key.Public()); !strings.HasSuffix(strings.TrimSpace(string(k.read("sum"))), want) {
			t.Errorf("%s: openssl prints %s, want %s", kind, k.read("sum"), want)
		}
	}
}

// Options.Now decides which certificate of a key is used, in a file and when the
// certificates are in another one.
func TestCertificateByTime(t *testing.T) {
	k := newKit(t)
	key := signertest.Key(t, "p256")
	ca := signertest.NewCA(t, "root")
	now := time.Now()
	issue := func(from, to time.Duration) *x509.Certificate {
		return ca.Issue(t, key, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(from), now.Add(to) })
	}
	const day = 24 * time.Hour
	past, current, next := issue(-9*day, -2*day), issue(-day, 2*day), issue(day, 90*day)
	k.write("key.pem", signertest.KeyPEM(t, key))
	for i, certs := range [][]*x509.Certificate{{past, current, next}, {next, current, past}, {current, next, past}, {next, past, current}} {
		k.write("all.pem", signertest.KeyPEM(t, key), signertest.CertPEM(certs...))
		k.write("certs.pem", signertest.CertPEM(certs...))
		for _, test := range []struct {
			at   time.Duration
			want *x509.Certificate
		}{{-5 * day, past}, {0, current}, {3*day/2 + 2*day, next}, {day + time.Hour, next}, {-day - time.Minute, current}, {-2*day + time.Minute, past}, {100 * day, next}} {
			for _, id := range []keystore.Identity{{Key: k.ref("all.pem")}, {Key: k.ref("key.pem"), Certificate: k.ref("certs.pem")}} {
				s, err := store.OpenIdentity(t.Context(), id, keystore.Options{Now: func() time.Time { return now.Add(test.at) }})
				if err != nil {
					t.Fatal(err)
				}
				if !s.Chain()[0].Equal(test.want) {
					t.Errorf("order %d, %s, at %v: the certificate until %v is used, want that until %v", i, filepath.Base(id.Key.Rest), test.at, s.Chain()[0].NotAfter, test.want.NotAfter)
				}
			}
		}
	}
}
