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
	"os"
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
	l.renew(l.request(l.key, old))
	// The old key vouches for another one.
	r := l.request(signertest.Key(t, "p256"), old)
	r.Lifetime = 2 * time.Hour
	r.CRLDistributionPoints = []string{"http://ca.example.com/ca.crl"}
	c := l.renew(r)
	if !signer.SamePublicKey(c.PublicKey, signertest.Key(t, "p256").Public()) || c.NotAfter.Sub(c.NotBefore) != 2*time.Hour+pki.Backdating || len(c.CRLDistributionPoints) != 1 {
		t.Errorf("%v until %v, %q", c.PublicKey, c.NotAfter, c.CRLDistributionPoints)
	}
	l.renew(l.request(signertest.Key(t, "p256"), c))
}

func TestRenewRefused(t *testing.T) {
	other := func(l *line) crypto.Signer { return signertest.Key(l, "p256") }
	for name, c := range map[string]struct {
		reason string
		make   func(l *line) authority.Renewal
	}{
		"revoked": {"was revoked at", func(l *line) authority.Renewal {
			l.revoke(l.first, pki.Unspecified)
			return l.request(l.key, l.first)
		}},
		"revoked after it was answered": {"was revoked at", func(l *line) authority.Renewal {
			r := l.request(l.key, l.first)
			l.renew(r)
			l.revoke(l.first, pki.Unspecified)
			return r
		}},
		"the answer is revoked": {"the certificate for this request", func(l *line) authority.Renewal {
			r := l.request(l.key, l.first)
			l.revoke(l.renew(r), pki.Unspecified)
			return r
		}},
		"the newest of the line is revoked": {"the renewed certificate", func(l *line) authority.Renewal {
			l.revoke(l.renew(l.request(l.key, l.renew(l.request(l.key, l.first)))), pki.Superseded)
			return l.request(l.key, l.first)
		}},
		"the key is compromised": {"the key is compromised", func(l *line) authority.Renewal {
			l.revoke(l.issue("other", l.key, pki.Client), pki.KeyCompromise)
			return l.request(l.key, l.first)
		}},
		"the new key is compromised": {"the key is compromised", func(l *line) authority.Renewal {
			l.revoke(l.issue("other", other(l), pki.Client), pki.KeyCompromise)
			return l.request(other(l), l.first)
		}},
		"superseded by another key": {"is superseded", func(l *line) authority.Renewal {
			l.renew(l.request(other(l), l.first))
			return l.request(l.key, l.first)
		}},
		"superseded, for a third key": {"is superseded", func(l *line) authority.Renewal {
			l.renew(l.request(other(l), l.first))
			return l.request(signertest.Key(l, "rsa2048"), l.first)
		}},
		"superseded in another branch of the line": {"is superseded", func(l *line) authority.Renewal {
			branch := l.renew(l.request(l.key, l.first))
			l.renew(l.request(other(l), l.first))
			return l.request(l.key, branch)
		}},
		"expired": {"expired at", func(l *line) authority.Renewal {
			l.now = l.first.NotAfter.Add(time.Second)
			return l.request(l.key, l.first)
		}},
		"expired for too long": {"expired at", func(l *line) authority.Renewal {
			l.now = l.first.NotAfter.Add(time.Hour + time.Second)
			r := l.request(l.key, l.first)
			r.AllowExpired = time.Hour
			return r
		}},
		"a certificate of another CA": {"this CA did not issue", func(l *line) authority.Renewal {
			return l.request(l.key, signertest.NewCA(l, "Root").Issue(l, l.key, nil))
		}},
		"a certificate of another CA with the same serial number": {"this CA did not issue", func(l *line) authority.Renewal {
			return l.request(l.key, signertest.NewCA(l, "Root").Issue(l, l.key, func(c *x509.Certificate) {
				c.SerialNumber, c.RawSubject = l.first.SerialNumber, l.first.RawSubject
			}))
		}},
		"the certificate of the CA": {"this CA did not issue", func(l *line) authority.Renewal { return l.request(l.key, l.Chain()[0]) }},
		"a certificate that the index does not contain": {"this CA did not issue", func(l *line) authority.Renewal { return l.request(l.key, l.signElsewhere()) }},
		"an adopted certificate": {"the profile of the certificate", func(l *line) authority.Renewal {
			c := l.signElsewhere()
			if _, err := l.Adopt(l.Context(), c); err != nil {
				l.Fatal(err)
			}
			return l.request(l.key, c)
		}},
		"its file is lost": {"this CA did not issue", func(l *line) authority.Renewal {
			if err := os.Remove(l.file(l.first)); err != nil {
				l.Fatal(err)
			}
			return l.request(l.key, l.first)
		}},
		"other names": {"other names", func(l *line) authority.Renewal {
			r := l.request(l.key, l.issue("admin", l.key, pki.Client))
			r.Old = l.first
			return r
		}},
		"one more name": {"other names", func(l *line) authority.Renewal {
			more := *l.first
			more.DNSNames = []string{"app.example.com"}
			r := l.request(l.key, &more)
			r.Old = l.first
			return r
		}},
		"an intermediate CA": {"not renewed without a person", func(l *line) authority.Renewal {
			profile := pki.Intermediate
			profile.IsCA, profile.KeyUsage, profile.Name = false, x509.KeyUsageDigitalSignature, "intermediate" // the root has the path length 0
			return l.request(l.key, l.issue("sub", l.key, profile))
		}},
		"an unknown profile": {"there is no profile", func(l *line) authority.Renewal {
			profile := pki.Client
			profile.Name = "gone"
			return l.request(l.key, l.issue("sub", l.key, profile))
		}},
		"a key that the profile does not permit": {"Ed25519", func(l *line) authority.Renewal { return l.request(signertest.Key(l, "ed25519"), l.first) }},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t)
			r := c.make(l)
			before, err := os.ReadFile(filepath.Join(l.dir, "index.jsonl"))
			if err != nil {
				t.Fatal(err)
			}
			for what, try := range map[string]func() (*x509.Certificate, error){
				"FindRenewal": func() (*x509.Certificate, error) { return l.FindRenewal(r) },
				"Renew":       func() (*x509.Certificate, error) { return l.Renew(t.Context(), l.caKey, r) },
			} {
				if got, err := try(); !errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), c.reason) || got != nil {
					t.Errorf("%s: %v, %v; want %q", what, got, err, c.reason)
				}
			}
			if after, err := os.ReadFile(filepath.Join(l.dir, "index.jsonl")); err != nil || !bytes.Equal(before, after) {
				t.Errorf("the index has changed: %v", err)
			}
		})
	}
}

func TestRenewExpired(t *testing.T) {
	l := newLine(t)
	answered := l.request(l.key, l.first)
	c := l.renew(answered)
	l.now = l.first.NotAfter.Add(time.Hour - time.Second)
	// A machine that was interrupted gets its answer also after the end.
	if again := l.renew(answered); !again.Equal(c) {
		t.Error("another certificate")
	}
	r := l.request(l.key, l.first)
	r.AllowExpired = time.Hour
	l.renew(r)
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

// An index is refused if what it says of renewals contradicts itself.
func TestAlteredRenewal(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	for name, fields := range map[string]string{
		"no request":            `"renews":"FIRST"`,
		"no certificate":        `"request":"` + hash + `"`,
		"an unknown serial":     `"renews":"05","request":"` + hash + `"`,
		"itself":                `"renews":"07","request":"` + hash + `"`,
		"a short hash":          `"renews":"FIRST","request":"0a"`,
		"upper case":            `"renews":"FIRST","request":"` + strings.ToUpper(hash) + `"`,
		"the other order":       `"request":"` + hash + `","renews":"FIRST"`,
		"a renewal":             `"renews":"FIRST","request":"` + hash + `"`, // is accepted
		"a renewal and a field": `"renews":"FIRST","request":"` + hash + `","x":1`,
	} {
		for _, event := range []string{"issue", "adopt"} {
			l := newLine(t)
			path := filepath.Join(l.dir, "index.jsonl")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
			added := fmt.Sprintf(`{"n":3,"previous":"%x","time":"2026-01-01T00:00:00Z","event":"%s","serial":"07","subject":"CN=app","not_after":"2026-01-02T00:00:00Z",%s}`+"\n",
				sha256.Sum256([]byte(lines[1])), event, strings.Replace(fields, "FIRST", serialOf(l.first), 1))
			if err := os.WriteFile(path, append(data, added...), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = authority.Open(l.dir, authority.Options{})
			if good := name == "a renewal" && event == "issue"; good != (err == nil) || !good && !errors.Is(err, authority.ErrIndex) {
				t.Errorf("%s, %s: %v", name, event, err)
			}
		}
	}
}
