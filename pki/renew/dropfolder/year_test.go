package dropfolder_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/authority"
	"github.com/holdfast-dev/holdfast/pki/cms"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/dropfolder"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A site is a CA, a machine and the folder that they share, with one clock.
type site struct {
	*testing.T
	now    time.Time
	ca     *authority.Authority
	caKey  signer.Signer
	folder *dropfolder.Folder
	chain  []*x509.Certificate // of the machine
}

func newSite(t *testing.T, key crypto.Signer, lifetime time.Duration) (*site, *renew.Renewer) {
	s := &site{T: t, now: time.Now().UTC().Truncate(time.Second), caKey: signer.FromKey(signertest.NewKey(t, "p256"))}
	clock := func() time.Time { return s.now }
	notBefore, notAfter := pki.Validity(nil, s.now, pki.Root.Lifetime)
	serial, err := pki.NewSerial(rand.Reader)
	s.must(err)
	root, err := pki.SelfSign(rand.Reader, s.caKey, pki.Template{Profile: pki.Root, Names: pki.CommonName("CA"), Serial: serial, NotBefore: notBefore, NotAfter: notAfter})
	s.must(err)
	s.ca, err = authority.Create(filepath.Join(t.TempDir(), "ca"), []*x509.Certificate{root}, authority.Options{Now: clock, NoSync: true})
	s.must(err)
	notBefore, notAfter = pki.Validity(root, s.now, lifetime)
	first, err := s.ca.Issue(t.Context(), s.caKey, pki.Template{Profile: pki.Client, Names: pki.CommonName("app"), PublicKey: key.Public(), NotBefore: notBefore, NotAfter: notAfter}, "")
	s.must(err)
	s.chain = []*x509.Certificate{first}
	dir := t.TempDir()
	s.folder, err = dropfolder.Open(dir)
	s.must(err)
	t.Cleanup(func() { s.folder.Close() })
	return s, renew.New(renew.Config{Way: dropfolder.Way{Dir: dir, Now: clock}, StateFile: filepath.Join(t.TempDir(), "state"), Now: clock,
		Open: func(context.Context) (signer.Signer, error) {
			return signer.WithCertificates(signer.FromKey(key), signer.Certificates{Chain: s.chain}), nil
		},
		Install: func(_ context.Context, _ *x509.Certificate, _ string, renewed []*x509.Certificate) error {
			s.chain = renewed
			return nil
		}})
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// answer answers the only request.
func (s *site) answer() {
	s.Helper()
	tokens, err := s.folder.Pending()
	s.must(err)
	if len(tokens) != 1 {
		s.Fatalf("requests %q", tokens)
	}
	data, err := s.folder.Request(tokens[0])
	s.must(err)
	m, err := cms.Parse(data)
	s.must(err)
	csr, err := pki.ParseRequest(m.Content)
	s.must(err)
	c, err := s.ca.Renew(s.Context(), s.caKey, authority.Renewal{Old: m.Signer, Request: csr, Transaction: m.Transaction,
		Profile: func(string) (pki.Profile, error) { return pki.Client, nil }})
	s.must(err)
	s.must(s.folder.Issue(tokens[0], signertest.CertPEM(c)))
}

// A hundred renewals by the clock, each with one request and one certificate. The
// requests of an RSA key for the same names are equal in all bytes.
func TestYear(t *testing.T) {
	for _, kind := range []string{"p256", "rsa2048"} {
		t.Run(kind, func(t *testing.T) {
			const renewals = 100
			s, r := newSite(t, signertest.Key(t, kind), 5*24*time.Hour)
			seen := map[string]bool{string(s.chain[0].Raw): true}
			for i := range renewals {
				status, err := r.Status(t.Context())
				s.must(err)
				if !s.now.Before(status.Due) {
					t.Fatalf("renewal %d is due before its time", i)
				}
				s.now = status.Due.Add(time.Second).Truncate(time.Second)
				if _, err := r.Renew(t.Context()); !errors.As(err, new(*renew.WaitError)) {
					t.Fatalf("renewal %d: %v", i, err)
				}
				s.answer()
				c, err := r.Renew(t.Context())
				s.must(err)
				if seen[string(c.Raw)] || !c.Equal(s.chain[0]) || c.NotAfter.Sub(s.now) != 5*24*time.Hour {
					t.Fatalf("renewal %d: until %v, seen before: %t", i, c.NotAfter, seen[string(c.Raw)])
				}
				seen[string(c.Raw)] = true
			}
			list, err := s.ca.List()
			s.must(err)
			if len(list) != renewals+1 {
				t.Errorf("%d certificates", len(list))
			}
			for i, c := range list[1:] {
				if c.Renews != list[i].Serial || c.Missing {
					t.Errorf("certificate %d renews %s", i, c.Renews)
				}
			}
			if problems, err := s.ca.Check(); err != nil || len(problems) > 0 {
				t.Errorf("%v, %v", problems, err)
			}
		})
	}
}

// A machine whose clock is behind cannot use its answers, and asks anew. When the clock
// is right, it gets a certificate. All its requests have the same bytes.
func TestClockBehind(t *testing.T) {
	s, r := newSite(t, signertest.Key(t, "rsa2048"), 24*time.Hour)
	for _, behind := range []time.Duration{3 * time.Hour, 2 * time.Hour, 0} {
		at := s.now.Add(4 * time.Hour)
		s.now = at.Add(-behind)
		if _, err := r.Renew(t.Context()); !errors.As(err, new(*renew.WaitError)) {
			t.Fatal(err)
		}
		s.now = at
		s.answer()
		s.now = at.Add(-behind)
		if c, err := r.Renew(t.Context()); (err == nil) != (behind == 0) || err == nil && !c.Equal(s.chain[0]) {
			t.Fatalf("%v behind: %v", behind, err)
		}
		s.now = at
	}
	if list, err := s.ca.List(); err != nil || len(list) != 4 {
		t.Errorf("%d certificates, %v", len(list), err)
	}
}
