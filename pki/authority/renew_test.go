package authority_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func findProfile(name string) (pki.Profile, error) {
	for _, p := range pki.Profiles() {
		if p.Name == name {
			return p, nil
		}
	}
	return pki.Profile{}, errors.New("there is no profile " + name)
}

// A line is a CA with a certificate that it issued.
type line struct {
	*testing.T
	*authority.Authority
	caKey signer.Signer
	dir   string
	now   time.Time
	key   crypto.Signer
	first *x509.Certificate
}

func newLine(t *testing.T) *line {
	_, caKey, dir := newCA(t)
	l := &line{T: t, caKey: caKey, dir: dir, now: time.Now(), key: signertest.Key(t, "p384")}
	var err error
	if l.Authority, err = authority.Open(dir, authority.Options{Now: func() time.Time { return l.now }}); err != nil {
		t.Fatal(err)
	}
	l.first = l.issue("app", l.key, pki.Client)
	return l
}

func (l *line) issue(name string, key crypto.Signer, profile pki.Profile) *x509.Certificate {
	l.Helper()
	notBefore, notAfter := pki.Validity(l.Chain()[0], l.now, time.Hour)
	c, err := l.Issue(l.Context(), l.caKey, pki.Template{Profile: profile, Names: pki.CommonName(name), PublicKey: key.Public(), NotBefore: notBefore, NotAfter: notAfter}, "")
	if err != nil {
		l.Fatal(err)
	}
	return c
}

// signElsewhere signs a certificate with the key of the CA, but without its folder.
func (l *line) signElsewhere() *x509.Certificate {
	l.Helper()
	notBefore, notAfter := pki.Validity(l.Chain()[0], l.now, time.Hour)
	serial, err := pki.NewSerial(rand.Reader)
	if err != nil {
		l.Fatal(err)
	}
	c, err := pki.Issue(rand.Reader, l.Issuer(l.Context(), l.caKey), pki.Template{Profile: pki.Client, Names: pki.CommonName("app"), PublicKey: l.key.Public(), Serial: serial, NotBefore: notBefore, NotAfter: notAfter})
	if err != nil {
		l.Fatal(err)
	}
	return c
}

// request returns a new request for the names of a certificate.
func (l *line) request(key crypto.Signer, old *x509.Certificate) authority.Renewal {
	l.Helper()
	der, err := pki.NewRequest(rand.Reader, signer.FromKey(key), pki.NamesOf(old))
	if err != nil {
		l.Fatal(err)
	}
	csr, err := pki.ParseRequest(der)
	if err != nil {
		l.Fatal(err)
	}
	return authority.Renewal{Old: old, Request: csr, Profile: findProfile}
}

func (l *line) renew(r authority.Renewal) *x509.Certificate {
	l.Helper()
	c, err := l.Renew(l.Context(), l.caKey, r)
	if err != nil {
		l.Fatal(err)
	}
	return c
}

func (l *line) revoke(c *x509.Certificate, reason pki.Reason) {
	l.Helper()
	if err := l.Revoke(l.Context(), serialOf(c), reason); err != nil {
		l.Fatal(err)
	}
}

func (l *line) file(c *x509.Certificate) string {
	return filepath.Join(l.dir, "certificates", serialOf(c)+".pem")
}

// A renewal has the names, the profile and the lifetime of the certificate before
// it, and the index says what it renews.
func TestRenew(t *testing.T) {
	l := newLine(t)
	old := l.first
	for i := range 3 {
		l.now = l.now.Add(40 * time.Minute)
		r := l.request(l.key, old)
		if c, err := l.FindRenewal(r); c != nil || err != nil {
			t.Fatalf("before the renewal: %v, %v", c, err)
		}
		c := l.renew(r)
		if differences := pki.Compare(old, c); len(differences) > 0 || c.NotAfter.Sub(c.NotBefore) != old.NotAfter.Sub(old.NotBefore) || !c.NotAfter.After(old.NotAfter) || c.Equal(old) {
			t.Errorf("renewal %d: %v, from %v until %v", i, differences, c.NotBefore, c.NotAfter)
		}
		if again := l.renew(r); !again.Equal(c) {
			t.Error("the same request got another certificate")
		}
		if again, err := l.FindRenewal(r); err != nil || !again.Equal(c) {
			t.Errorf("%v, %v", again, err)
		}
		list, err := wantSound(t, l.dir).List()
		if got := list[len(list)-1]; err != nil || got.Renews != serialOf(old) || got.Request != fmt.Sprintf("%x", sha256.Sum256(r.Request.Raw)) || got.Profile != "client" {
			t.Errorf("%+v, %v", got, err)
		}
		old = c
	}
	// A machine that could not use its answer asks anew, with the same key.
	l.renew(l.request(l.key, old))
	newest := l.renew(l.request(l.key, old))
	// The old key vouches for another one, with the newest certificate.
	r := l.request(signertest.Key(t, "p256"), newest)
	r.Lifetime = 2 * time.Hour
	r.CRLDistributionPoints = []string{"http://ca.example.com/ca.crl"}
	c := l.renew(r)
	if !signer.SamePublicKey(c.PublicKey, signertest.Key(t, "p256").Public()) || c.NotAfter.Sub(c.NotBefore) != 2*time.Hour+pki.Backdating || len(c.CRLDistributionPoints) != 1 {
		t.Errorf("%v until %v, %q", c.PublicKey, c.NotAfter, c.CRLDistributionPoints)
	}
	l.renew(l.request(signertest.Key(t, "p256"), c))
	// It still vouches for that one, if the machine could not use its answer.
	l.renew(l.request(signertest.Key(t, "p256"), old))
}

func TestRenewExpired(t *testing.T) {
	l := newLine(t)
	l.now = l.now.Add(30 * time.Minute)
	answered := l.request(l.key, l.first)
	c := l.renew(answered)
	// A machine that was interrupted gets its answer also after the end.
	l.now = l.first.NotAfter.Add(time.Minute)
	if again := l.renew(answered); !again.Equal(c) {
		t.Error("another certificate")
	}
	r := l.request(l.key, l.first)
	r.AllowExpired = time.Hour
	l.renew(r)
	// An answer that has expired is of no use.
	l.now = c.NotAfter.Add(time.Minute)
	if _, err := l.FindRenewal(answered); !errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), "expired at") {
		t.Error(err)
	}
	answered.AllowExpired = time.Hour
	if again := l.renew(answered); again.Equal(c) || !again.NotAfter.After(l.now) {
		t.Error("the answer has expired")
	}
}

// Requests of an RSA key are equal in all bytes. The transaction distinguishes them.
func TestRenewTransactions(t *testing.T) {
	l := newLine(t)
	l.key = signertest.Key(t, "rsa2048")
	l.first = l.issue("app", l.key, pki.Client)
	first, second := l.request(l.key, l.first), l.request(l.key, l.first)
	if !bytes.Equal(first.Request.Raw, second.Request.Raw) {
		t.Fatal("the requests differ")
	}
	first.Transaction, second.Transaction = "1", "2"
	c := l.renew(first)
	if d := l.renew(second); d.Equal(c) || !l.renew(first).Equal(c) || !l.renew(second).Equal(d) {
		t.Error("each transaction gets one certificate")
	}
}

// A signature that was interrupted is made again for the same request, with another
// serial number. An earlier certificate that nobody got supersedes nothing.
func TestRenewInterrupted(t *testing.T) {
	for _, kind := range []string{"p384", "p256"} {
		l := newLine(t)
		r := l.request(signertest.Key(t, kind), l.first)
		broken := &signertest.Fake{Key: signertest.Key(t, "p256"), OnSign: func(int) error { return signer.ErrUnavailable }}
		if _, err := l.Renew(t.Context(), broken, r); !errors.Is(err, signer.ErrUnavailable) {
			t.Fatal(err)
		}
		list, err := l.List()
		if err != nil || len(list) != 2 || !list[1].Missing || list[1].Renews != serialOf(l.first) {
			t.Fatalf("%+v, %v", list, err)
		}
		if err := l.Revoke(t.Context(), list[1].Serial, pki.Superseded); err != nil { // as docs/ca.md says
			t.Fatal(err)
		}
		c := l.renew(r)
		if serialOf(c) == list[1].Serial {
			t.Error("the serial number was used twice")
		}
		wantSound(t, l.dir)
		if again := l.renew(r); !again.Equal(c) {
			t.Error("the same request got another certificate")
		}
	}
}

// The same request at the same time gets one certificate.
func TestRenewAtTheSameTime(t *testing.T) {
	l := newLine(t)
	r := l.request(l.key, l.first)
	var all sync.WaitGroup
	certs := make([]*x509.Certificate, 8)
	for i := range certs {
		all.Go(func() {
			a, err := authority.Open(l.dir, authority.Options{})
			if err == nil {
				certs[i], err = a.Renew(context.Background(), l.caKey, r)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, c := range certs {
		if c != nil && !c.Equal(certs[0]) {
			t.Error("two certificates for one request")
		}
	}
	if list, err := wantSound(t, l.dir).List(); err != nil || len(list) != 2 {
		t.Errorf("%d certificates, %v", len(list), err)
	}
}
