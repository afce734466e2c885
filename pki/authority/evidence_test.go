package authority_test

import (
	"crypto"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// evidence is the hash of a file of evidence.
var evidence = strings.Repeat("0e", 32)

// attest issues a certificate with evidence.
func (l *line) attest(name string, key crypto.Signer) *x509.Certificate {
	l.Helper()
	notBefore, notAfter := pki.Validity(l.Chain()[0], l.now, time.Hour)
	c, err := l.Issue(l.Context(), l.caKey, pki.Template{Profile: pki.Client, Names: pki.CommonName(name), PublicKey: key.Public(), NotBefore: notBefore, NotAfter: notAfter}, evidence)
	if err != nil {
		l.Fatal(err)
	}
	return c
}

// wantEvidence checks what the index says about a certificate, also for another
// process.
func (l *line) wantEvidence(c *x509.Certificate, want string) {
	l.Helper()
	for _, a := range []*authority.Authority{l.Authority, wantSound(l.T, l.dir)} {
		if entry, err := a.Find(serialOf(c)); err != nil || entry.Evidence != want {
			l.Errorf("the evidence of %s is %q, want %q: %v", entry.Subject, entry.Evidence, want, err)
		}
	}
}

// wantRefused checks that a renewal is refused, and that nothing is issued.
func (l *line) wantRefused(r authority.Renewal, text string) {
	l.Helper()
	before, err := l.List()
	if err != nil {
		l.Fatal(err)
	}
	for range 2 {
		c, err := l.FindRenewal(r)
		if c != nil || !errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), text) || text == refusedKey && signer.Hint(err) == "" {
			l.Errorf("FindRenewal returns %v, %v", c, err)
		}
		if c, err = l.Renew(l.Context(), l.caKey, r); c != nil || !errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), text) {
			l.Errorf("Renew returns %v, %v", c, err)
		}
	}
	if after, err := l.List(); err != nil || len(after) != len(before) {
		l.Errorf("%d certificates became %d: %v", len(before), len(after), err)
	}
}

const refusedKey = "was issued with evidence that its key is in a TPM, and the request has another key"

// The evidence is about the key, so each renewal with the key has it, and no renewal
// has another key.
func TestRenewAttested(t *testing.T) {
	l := newLine(t)
	other := signertest.Key(t, "p256")
	line := []*x509.Certificate{l.attest("attested", l.key)}
	l.wantEvidence(line[0], evidence)
	for i := range 4 {
		for _, c := range line {
			l.wantRefused(l.request(other, c), refusedKey)
		}
		l.now = l.now.Add(10 * time.Minute)
		r := l.request(l.key, line[i])
		c := l.renew(r)
		if again := l.renew(r); !again.Equal(c) {
			t.Error("the same request got another certificate")
		}
		if !signer.SamePublicKey(c.PublicKey, l.key.Public()) {
			t.Error("the renewal has another key")
		}
		line = append(line, c)
		for _, c := range line {
			l.wantEvidence(c, evidence)
		}
	}
	// A machine that lost its answers renews an older certificate of the line.
	l.wantEvidence(l.renew(l.request(l.key, line[1])), evidence)
	l.wantRefused(l.request(other, line[1]), refusedKey)

	// A reopened folder still knows it.
	var err error
	if l.Authority, err = authority.Open(l.dir, authority.Options{Now: func() time.Time { return l.now }}); err != nil {
		t.Fatal(err)
	}
	l.wantRefused(l.request(other, line[2]), refusedKey)
	l.wantEvidence(l.renew(l.request(l.key, line[2])), evidence)
}

// A certificate that was issued without evidence gets none, and can get another key,
// also if there is an attested certificate for its key, its names, or the new key.
func TestRenewBesideAttested(t *testing.T) {
	l := newLine(t)
	other := signertest.Key(t, "p256")
	attested := l.attest("app", l.key) // has the names and the key of l.first
	l.wantEvidence(l.first, "")
	plain := l.renew(l.request(l.key, l.first))
	l.wantEvidence(plain, "")
	l.wantRefused(l.request(other, attested), refusedKey)
	moved := l.renew(l.request(other, plain))
	l.wantEvidence(moved, "")
	again := l.renew(l.request(other, moved))
	l.wantEvidence(again, "")
	l.wantRefused(l.request(l.key, l.first), "superseded")

	// The key of an attested certificate can come to a plain one, whose renewals
	// stay plain.
	third := signertest.NewKey(t, "p256")
	l.attest("third", third)
	back := l.renew(l.request(third, again))
	l.wantEvidence(back, "")
	l.wantEvidence(l.renew(l.request(third, back)), "")
	l.wantEvidence(attested, evidence)
	l.wantEvidence(l.renew(l.request(l.key, attested)), evidence)
}

// Evidence does not outweigh the other reasons to refuse a renewal.
func TestRenewAttestedRefused(t *testing.T) {
	l := newLine(t)
	c := l.attest("attested", l.key)
	r := l.request(l.key, c)
	r.Request = l.request(l.key, l.first).Request
	l.wantRefused(r, "other names")
	expired := l.request(l.key, c)
	l.now = c.NotAfter.Add(time.Minute)
	if _, err := l.FindRenewal(expired); !errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), "expired at") {
		t.Error(err)
	}
	expired.AllowExpired = time.Hour
	l.wantEvidence(l.renew(expired), evidence)
	l.revoke(c, pki.KeyCompromise)
	if _, err := l.FindRenewal(l.request(l.key, c)); !errors.Is(err, authority.ErrRefused) || !strings.Contains(err.Error(), "was revoked") {
		t.Error(err)
	}
}
