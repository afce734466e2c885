package authority_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A thief who renews with a key of his own does not escape the revocation of the key
// that he stole: the refusal names the certificate that was revoked.
func TestRenewCompromised(t *testing.T) {
	l := newLine(t)
	thief := signertest.Key(t, "p256")
	c := l.renew(l.request(thief, l.first))
	c = l.renew(l.request(thief, c))
	l.revoke(l.first, pki.KeyCompromise)
	_, err := l.Renew(t.Context(), l.caKey, l.request(thief, c))
	if !errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), serialOf(l.first)) {
		t.Error(err)
	}
	list, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list {
		if entry.Line != serialOf(l.first) {
			t.Errorf("%s is in the line of %s", entry.Serial, entry.Line)
		}
	}
}

// Only the reason keyCompromise concerns the keys that came later, and only those in
// the same line. A key is not compromised because the one after it is.
func TestRenewNotCompromised(t *testing.T) {
	for name, revoke := range map[string]func(l *line, between, newest authority.Renewal){
		"another reason": func(l *line, between, _ authority.Renewal) {
			l.revoke(l.first, pki.Superseded)
			l.revoke(between.Old, pki.Unspecified)
		},
		"another line of another key": func(l *line, _, _ authority.Renewal) {
			l.revoke(l.issue("app", signertest.Key(l, "p521"), pki.Client), pki.KeyCompromise)
		},
		"a later key": func(l *line, _, newest authority.Renewal) {
			second := l.issue("app", l.key, pki.Client)
			l.revoke(l.renew(l.request(signertest.Key(l, "p521"), second)), pki.KeyCompromise)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(t)
			between := l.request(l.key, l.renew(l.request(l.key, l.first)))
			newest := l.request(signertest.Key(t, "p256"), l.renew(l.request(signertest.Key(t, "p256"), l.renew(between))))
			revoke(l, between, newest)
			l.renew(newest)
		})
	}
}

// A certificate that is revoked while a renewal of it is examined is not renewed:
// nobody would tell of the new one.
func TestRevokedDuringRenewal(t *testing.T) {
	for _, reason := range []pki.Reason{pki.KeyCompromise, pki.Unspecified} {
		l := newLine(t)
		other, err := authority.Open(l.dir, authority.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := l.request(signertest.Key(t, "p256"), l.first)
		r.Profile = func(name string) (pki.Profile, error) {
			if err := other.Revoke(t.Context(), serialOf(l.first), reason); err != nil {
				t.Error(err)
			}
			return findProfile(name)
		}
		if c, err := l.Renew(t.Context(), l.caKey, r); !errors.Is(err, authority.ErrRefused) || c != nil {
			t.Errorf("%v, %v", c, err)
		}
		if list, err := wantSound(t, l.dir).List(); err != nil || len(list) != 1 {
			t.Errorf("%d certificates, %v", len(list), err)
		}
	}
}

// A machine that lost the answer to a renewal gets another key with two requests.
func TestRenewWithAnotherKeyAfterALostAnswer(t *testing.T) {
	l := newLine(t)
	l.renew(l.request(l.key, l.first)) // lost
	c := l.renew(l.request(l.key, l.first))
	r := l.request(signertest.Key(t, "p256"), c)
	if d := l.renew(r); !l.renew(r).Equal(d) {
		t.Error("the same request got another certificate")
	}
	// What was given up before does not take the line to a third key.
	if _, err := l.FindRenewal(l.request(signertest.Key(t, "p521"), l.first)); !errors.Is(err, authority.ErrRefused) {
		t.Error(err)
	}
}
