package est_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/est"
	"github.com/holdfast-dev/holdfast/pki/renew/est/esttest"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A site is an EST server with its client.
type site struct {
	*testing.T
	server *esttest.CA
	way    *est.CA
}

func newSite(t *testing.T) site {
	server := esttest.Start(t, 24*time.Hour)
	return site{t, server, newWay(t, est.Config{URL: server.URL, Roots: server.Roots})}
}

func newWay(t *testing.T, config est.Config) *est.CA {
	t.Helper()
	way, err := est.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return way
}

func newCSR(t *testing.T, key signer.Signer, names pki.Names) []byte {
	t.Helper()
	csr, err := pki.NewRequest(rand.Reader, key, names)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func names() pki.Names {
	n := pki.CommonName("app-17")
	n.DNSNames = []string{"app.example.com"}
	return n
}

const password = esttest.User + ":" + esttest.Password

// enrol returns the key with its first certificate.
func (s site) enrol(key signer.Signer) signer.Signer {
	s.Helper()
	certs, err := s.way.Enroll(s.Context(), newCSR(s.T, key, names()), password+"\n")
	if err != nil {
		s.Fatal(err)
	}
	return s.bind(key, certs)
}

func (s site) bind(key signer.Signer, certs []*x509.Certificate) signer.Signer {
	s.Helper()
	found, err := signer.SelectCertificates(key.Public(), certs, time.Now())
	if err != nil {
		s.Fatal(err)
	}
	return signer.WithCertificates(key, found)
}

// issued returns the key with a certificate that the server would not issue.
func (s site) issued(by *signertest.CA, key signer.Signer, mutate func(*x509.Certificate)) signer.Signer {
	return s.bind(key, append([]*x509.Certificate{by.Issue(s, key, mutate)}, by.Chain()...))
}

func expired(t *x509.Certificate) {
	t.NotBefore, t.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
}

func (s site) renew(old, key signer.Signer) ([]*x509.Certificate, error) {
	s.Helper()
	csr, err := pki.NewRenewalRequest(rand.Reader, key, old.Chain()[0])
	if err != nil {
		s.Fatal(err)
	}
	return s.way.Renew(s.Context(), renew.Request{Old: old, CSR: csr, Token: strings.Repeat("0", 32), Attempt: 1})
}

// wantRenewed renews the certificate of old for key.
func (s site) wantRenewed(old, key signer.Signer) signer.Signer {
	s.Helper()
	certs, err := s.renew(old, key)
	if err != nil {
		s.Fatal(err)
	}
	renewed := s.bind(key, certs)
	chain := renewed.Chain()
	if d := pki.Compare(old.Chain()[0], chain[0]); len(d) > 0 || chain[0].Equal(old.Chain()[0]) || len(chain) < 2 {
		s.Errorf("%v; %d certificates", d, len(chain))
	}
	return renewed
}

func TestServer(t *testing.T) {
	for _, label := range []string{"", esttest.Label} {
		s := newSite(t)
		s.way = newWay(t, est.Config{URL: s.server.URL, Roots: s.server.Roots, Label: label})
		key, next := signer.FromKey(signertest.Key(t, "p256")), signer.FromKey(signertest.Key(t, "rsa2048"))
		old := s.enrol(key)
		if len(old.Chain()) != 2 {
			t.Errorf("the first certificate came with %d issuers, want the intermediate CA", len(old.Chain())-1)
		}
		s.wantRenewed(s.wantRenewed(s.wantRenewed(old, key), key), next)
		// The names of a certificate stay byte by byte.
		s.wantRenewed(s.issued(s.server.Issuer, key, func(t *x509.Certificate) {
			t.RawSubject = []byte{0x30, 0x0e, 0x31, 0x0c, 0x30, 0x0a, 6, 3, 0x55, 4, 3, 0x13, 3, 'a', 'p', 'p'} // a PrintableString
		}), key)
		if n := s.server.Count("cacerts"); n != 5 {
			t.Errorf("cacerts was asked %d times", n)
		}
	}
}

// A certificate of the manufacturer authenticates the first enrolment.
func TestEnrollByCertificate(t *testing.T) {
	s := newSite(t)
	key := signer.FromKey(signertest.Key(t, "p256"))
	device := s.issued(s.server.Issuer, signer.FromKey(signertest.Key(t, "p384")), nil)
	s.way = newWay(t, est.Config{URL: s.server.URL, Roots: s.server.Roots, Client: device})
	certs, err := s.way.Enroll(t.Context(), newCSR(t, key, names()), "")
	if err != nil || len(certs) != 2 || certs[0].Subject.CommonName != "app-17" {
		t.Errorf("%d certificates, %v", len(certs), err)
	}
}

// The server refuses what it must, and the error says why and what to do.
func TestRefused(t *testing.T) {
	s := newSite(t)
	key := signer.FromKey(signertest.Key(t, "p256"))
	old, revoked := s.enrol(key), s.enrol(key)
	s.server.Revoke(revoked.Chain()[0])
	other := signertest.NewCA(t, "another CA")
	csrOf := func(n pki.Names) func() error {
		return func() error {
			_, err := s.way.Renew(t.Context(), renew.Request{Old: old, CSR: newCSR(t, key, n)})
			return err
		}
	}
	renewal := func(old signer.Signer) func() error {
		return func() error { _, err := s.renew(old, key); return err }
	}
	enrol := func(token string) func() error {
		return func() error { _, err := s.way.Enroll(t.Context(), newCSR(t, key, names()), token); return err }
	}
	fewer := names()
	fewer.DNSNames = nil
	for name, c := range map[string]struct {
		do         func() error
		text, hint string
	}{
		"another subject": {csrOf(pki.CommonName("root")), "subject and SubjectAltName must be identical", "the same subject"},
		"fewer names":     {csrOf(fewer), "subject and SubjectAltName must be identical", "the same subject"},
		"revoked":         {renewal(revoked), "has been revoked", "must allow"},
		"expired":         {renewal(s.issued(s.server.Issuer, key, expired)), "expired certificate", "has expired; enroll again"},
		"of another CA":   {renewal(s.issued(other, key, nil)), "unknown certificate authority", "check that this CA has issued"},
		"wrong password":  {enrol("app:incorrect"), "wrong user name or password", "check the user name"},
		"wrong user":      {enrol("root:" + esttest.Password), "wrong user name or password", "check the user name"},
		"a damaged request": {func() error {
			_, err := s.way.Renew(t.Context(), renew.Request{Old: old, CSR: []byte("x")})
			return err
		}, "status 400", "the names in the request"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.do()
			if !errors.Is(err, renew.ErrRejected) || errors.Is(err, renew.ErrUnreachable) {
				t.Errorf("not rejected: %v", err)
			}
			if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(signer.Hint(err), c.hint) {
				t.Errorf("%v\nhint: %s", err, signer.Hint(err))
			}
		})
	}
	for _, token := range []string{"", "secret", "secret:", ":secret", "a:secret\nb", "a:" + strings.Repeat("secret", 1000)} {
		if err := enrol(token)(); err == nil || errors.Is(err, renew.ErrRejected) || strings.Contains(err.Error(), "secret:") || !strings.Contains(signer.Hint(err), "USER:PASSWORD") {
			t.Errorf("%.20q: %v", token, err)
		}
	}
	s.way = newWay(t, est.Config{URL: s.server.URL, Roots: s.server.Roots, Label: "none"})
	_, err := s.renew(old, key)
	wantUnreachable(t, err, "status 404", "/.well-known/est/none/cacerts")
	s.server.Stop()
	_, err = s.renew(old, key)
	wantUnreachable(t, err, "refused", "check the network")
}

func wantUnreachable(t *testing.T, err error, text, hint string) {
	t.Helper()
	if !errors.Is(err, renew.ErrUnreachable) || errors.Is(err, renew.ErrRejected) || !strings.Contains(err.Error(), text) || !strings.Contains(signer.Hint(err), hint) {
		t.Errorf("%v; hint: %s", err, signer.Hint(err))
	}
}

// A Renewer renews three times in a row, waits for the CA with the same request, and
// changes the key.
func TestRenewer(t *testing.T) {
	for name, newStore := range stores {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			newKey := newStore(t)
			keys := map[string]signer.Signer{"": newKey(), "next": newKey()}
			current := s.enrol(keys[""])
			config := renew.Config{
				Way: s.way, StateFile: filepath.Join(t.TempDir(), "state"),
				Open: func(context.Context) (signer.Signer, error) { return signer.WithContext(t.Context(), current), nil },
				Install: func(_ context.Context, _ *x509.Certificate, name string, chain []*x509.Certificate) error {
					current = s.bind(keys[name], chain)
					return nil
				},
			}
			renewed := func() {
				t.Helper()
				before := current.Chain()[0]
				if _, err := renew.New(config).Renew(t.Context()); err != nil {
					t.Fatal(err)
				}
				if before.Equal(current.Chain()[0]) {
					t.Error("the certificate in use is not the new one")
				}
			}
			for range 3 {
				renewed()
			}
			s.server.Hold(1)
			_, err := renew.New(config).Renew(t.Context())
			var wait *renew.WaitError
			if !errors.As(err, &wait) || wait.After != 2*time.Second {
				t.Errorf("held: %v", err)
			}
			renewed()
			config.Key = func(context.Context, signer.Signer, string) (signer.Signer, string, error) {
				return signer.WithContext(t.Context(), keys["next"]), "next", nil
			}
			renewed()
			if !signer.SamePublicKey(current.Chain()[0].PublicKey, keys["next"].Public()) {
				t.Error("the certificate is for the old key")
			}
		})
	}
}
