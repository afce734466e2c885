package authority_test

import (
	"crypto"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The holder of a key gets a bounded number of valid certificates, with the same key,
// with others, and in whatever branch of the line. A repeated request still gets its
// answer, and other lines are not concerned.
func TestRenewBound(t *testing.T) {
	for name, key := range map[string]func(l *line, i int) crypto.Signer{
		"the same key": func(l *line, _ int) crypto.Signer { return l.key },
		"other keys":   func(l *line, i int) crypto.Signer { return signertest.Key(l, []string{"p256", "p521"}[i%2]) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t)
			last := l.request(key(l, 0), l.first)
			c := l.renew(last)
			for i := 1; i < authority.MaxValid-1; i++ {
				last = l.request(key(l, i), c)
				last.Lifetime = time.Duration(i) * time.Minute
				c = l.renew(last)
			}
			refused := l.request(key(l, 0), c)
			wantTooOften := func() {
				t.Helper()
				if c, err := l.Renew(t.Context(), l.caKey, refused); !errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), "was renewed too often: 20 certificates of its line are valid") || c != nil {
					t.Errorf("%v, %v", c, err)
				}
			}
			wantTooOften()
			if again := l.renew(last); !again.Equal(c) {
				t.Error("the same request got another certificate")
			}
			other := l.issue("app", l.key, pki.Client)
			l.renew(l.request(l.key, other))

			// A revocation by a person, and the end of a certificate, make place.
			l.revoke(l.first, pki.Superseded)
			c = l.renew(refused)
			refused = l.request(key(l, 0), c)
			wantTooOften()
			l.now = l.now.Add(time.Minute + time.Second)
			l.renew(refused)
		})
	}
}

// Certificates whose signature was interrupted do not count: nobody got them.
func TestRenewBoundInterrupted(t *testing.T) {
	l := newLine(t)
	r := l.request(l.key, l.first)
	broken := &signertest.Fake{Key: signertest.Key(t, "p256"), OnSign: func(int) error { return signer.ErrUnavailable }}
	for range authority.MaxValid {
		if _, err := l.Renew(t.Context(), broken, r); !errors.Is(err, signer.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	l.renew(r)
}

// After the restore of an older index, the key that a newer certificate can have
// replaced gets nothing without a person.
func TestRenewAfterRestore(t *testing.T) {
	restored := func(t *testing.T, change func(l *line) *x509.Certificate) (*line, *x509.Certificate) {
		l := newLine(t)
		l.now = l.now.Add(10 * time.Minute) // no certificate begins before that of the CA
		l.first = l.issue("app", l.key, pki.Client)
		index := filepath.Join(l.dir, "index.jsonl")
		before, err := os.ReadFile(index)
		if err != nil {
			t.Fatal(err)
		}
		c := change(l)
		if err := os.WriteFile(index, before, 0o600); err != nil {
			t.Fatal(err)
		}
		if l.Authority, err = authority.Open(l.dir, authority.Options{Now: func() time.Time { return l.now }}); err != nil {
			t.Fatal(err)
		}
		if n, err := l.Repair(t.Context()); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		return l, c
	}
	rekeyed := func(l *line) *x509.Certificate { return l.renew(l.request(signertest.Key(l, "p256"), l.first)) }

	l, c := restored(t, rekeyed)
	_, err := l.Renew(t.Context(), l.caKey, l.request(l.key, l.first))
	if !errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), "can be superseded") || !strings.Contains(err.Error(), serialOf(c)) || !strings.Contains(signer.Hint(err), "by its serial number "+serialOf(c)) {
		t.Errorf("%v, %q", err, signer.Hint(err))
	}
	// A certificate that a person issues later is renewed.
	l.now = l.now.Add(time.Second)
	l.renew(l.request(l.key, l.issue("app", l.key, pki.Client)))
	if err := os.Remove(l.file(c)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.FindRenewal(l.request(l.key, l.first)); err == nil || errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), serialOf(c)) {
		t.Errorf("its file is lost: %v", err)
	}

	l, c = restored(t, rekeyed)
	l.revoke(c, pki.Superseded)
	l.renew(l.request(l.key, l.first))

	for name, change := range map[string]func(l *line) *x509.Certificate{
		"the same key": func(l *line) *x509.Certificate { return l.renew(l.request(l.key, l.first)) },
		"another name": func(l *line) *x509.Certificate { return l.issue("other", signertest.Key(l, "p256"), pki.Client) },
		"an older one": func(l *line) *x509.Certificate {
			l.now = l.now.Add(-time.Second)
			return l.issue("app", signertest.Key(l, "p256"), pki.Client)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := restored(t, change)
			l.renew(l.request(l.key, l.first))
		})
	}
}

// A request of another CA is told from one that no CA can grant.
func TestRenewForeign(t *testing.T) {
	l := newLine(t)
	for name, c := range map[string]struct {
		old     *x509.Certificate
		foreign bool
	}{
		"another CA":       {signertest.NewCA(t, "Root").Issue(t, l.key, nil), true},
		"without a folder": {l.signElsewhere(), false},
	} {
		if _, err := l.FindRenewal(l.request(l.key, c.old)); !errors.Is(err, authority.ErrRefused) || errors.Is(err, authority.ErrForeign) != c.foreign {
			t.Errorf("%s: %v", name, err)
		}
	}
}
