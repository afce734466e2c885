package authority_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The line of the first certificate has the keys p384, p256 and p521. Each of the first
// two has a certificate in another line. An interruption after any event is made up for.
func TestRevokeLine(t *testing.T) {
	for name, c := range map[string]struct {
		reason pki.Reason
		others int
	}{
		"any reason":   {pki.CessationOfOperation, 3},
		"a compromise": {pki.KeyCompromise, 5},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t)
			second := l.renew(l.request(signertest.Key(t, "p256"), l.first))
			third := l.request(signertest.Key(t, "p521"), second)
			l.issue("app", l.key, pki.Client)
			l.issue("app", signertest.Key(t, "p256"), pki.Client)
			l.issue("app", signertest.Key(t, "rsa2048"), pki.Client)
			last := l.renew(third)
			broken := &signertest.Fake{Key: signertest.Key(t, "p256"), OnSign: func(int) error { return signer.ErrUnavailable }}
			if _, err := l.Renew(t.Context(), broken, l.request(signertest.Key(t, "p521"), last)); !errors.Is(err, signer.ErrUnavailable) {
				t.Fatal(err)
			}
			index := filepath.Join(l.dir, "index.jsonl")
			before, err := os.ReadFile(index)
			if err != nil {
				t.Fatal(err)
			}
			others, err := l.RevokeLine(t.Context(), serialOf(l.first), c.reason)
			if err != nil || len(others) != c.others {
				t.Fatalf("%d certificates, %v", len(others), err)
			}
			whole, err := os.ReadFile(index)
			if err != nil {
				t.Fatal(err)
			}
			for end := range len(whole) - len(before) + 1 {
				if end > 0 && whole[len(before)+end-1] != '\n' {
					continue
				}
				if err := os.WriteFile(index, whole[:len(before)+end], 0o600); err != nil {
					t.Fatal(err)
				}
				a, err := authority.Open(l.dir, authority.Options{})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := a.RevokeLine(t.Context(), serialOf(l.first), c.reason); err != nil {
					t.Fatal(err)
				}
				list, err := a.List()
				if err != nil {
					t.Fatal(err)
				}
				revoked := 0
				for _, e := range list {
					if !e.Revoked.IsZero() && e.Reason == c.reason {
						revoked++
					}
				}
				if revoked != c.others+1 || len(authority.Related(list, list[0], c.reason == pki.KeyCompromise, time.Now())) != 0 {
					t.Errorf("after %d bytes: %d are revoked", end, revoked)
				}
				if _, err := a.Renew(t.Context(), l.caKey, l.request(signertest.Key(t, "p521"), last)); !errors.Is(err, authority.ErrRefused) {
					t.Error(err)
				}
			}
		})
	}
}

// A certificate that was revoked for another reason does not keep the others from being
// revoked, and those that have expired stay as they are.
func TestRevokeLineOfARevoked(t *testing.T) {
	l := newLine(t)
	l.now = l.now.Add(50 * time.Minute)
	second := l.renew(l.request(l.key, l.first))
	third := l.renew(l.request(l.key, l.first))
	l.revoke(second, pki.Superseded)
	l.now = l.first.NotAfter.Add(time.Second)
	others, err := l.RevokeLine(t.Context(), serialOf(second), pki.KeyCompromise)
	if err != nil || len(others) != 1 || others[0].Serial != serialOf(third) {
		t.Errorf("%+v, %v", others, err)
	}
	if err := l.CheckKey(l.key.Public()); err == nil {
		t.Error("the key is not compromised")
	}
	if _, err := l.RevokeLine(t.Context(), "05", pki.KeyCompromise); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
