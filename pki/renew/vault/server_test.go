package vault_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/vault"
	"github.com/holdfast-dev/holdfast/pki/renew/vault/vaulttest"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A site is a server with its client.
type site struct {
	*testing.T
	server *vaulttest.CA
	way    *vault.CA
}

func newSite(t *testing.T) site {
	server := vaulttest.Start(t, 24*time.Hour)
	return site{t, server, newWay(t, vault.Config{URL: server.URL, Roots: server.Roots, Role: vaulttest.Role})}
}

func newWay(t *testing.T, config vault.Config) *vault.CA {
	t.Helper()
	way, err := vault.New(config)
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
	n := pki.CommonName(vaulttest.Name)
	n.DNSNames = []string{"app.example.com", "www.example.com"}
	n.EmailAddresses = []string{"app@example.com"}
	n.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.com", Path: "/app"}}
	n.IPAddresses = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	return n
}

// enrol returns the key with its first certificate.
func (s site) enrol(key signer.Signer) signer.Signer {
	s.Helper()
	certs, err := s.way.Enroll(s.Context(), newCSR(s.T, key, names()), s.server.Token()+"\n")
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
	before := s.server.Tokens()
	certs, err := s.renew(old, key)
	if err != nil {
		s.Fatal(err)
	}
	renewed := s.bind(key, certs)
	chain := renewed.Chain()
	if d := pki.Compare(old.Chain()[0], chain[0]); len(d) > 0 || chain[0].Equal(old.Chain()[0]) || len(chain) != 2 {
		s.Errorf("%v; %d certificates", d, len(chain))
	}
	if after := s.server.Tokens(); after != before {
		s.Errorf("%d tokens are valid, want %d", after, before)
	}
	return renewed
}

func TestServer(t *testing.T) {
	s := newSite(t)
	key, next := signer.FromKey(signertest.Key(t, "p256")), signer.FromKey(signertest.Key(t, "rsa2048"))
	old := s.enrol(key)
	if len(old.Chain()) != 2 {
		t.Errorf("the first certificate came with %d issuers, want the intermediate CA", len(old.Chain())-1)
	}
	s.wantRenewed(s.wantRenewed(s.wantRenewed(old, key), key), next)
	other := vaulttest.StartAt(t, time.Hour, "team/a", "ca/issuing", "machines/cert")
	s = site{t, other, newWay(t, vault.Config{URL: other.URL, Roots: other.Roots, Role: vaulttest.Role, Namespace: "team/a/", Mount: "ca/issuing", LoginMount: "machines/cert", TTL: time.Hour})}
	s.wantRenewed(s.enrol(key), key)
}

// The server refuses what it must, and the error says why and what to do.
func TestRefused(t *testing.T) {
	s := newSite(t)
	key := signer.FromKey(signertest.Key(t, "p256"))
	old := s.enrol(key)
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
	with := func(change func(*vault.Config)) func() error {
		config := vault.Config{URL: s.server.URL, Roots: s.server.Roots, Role: vaulttest.Role}
		change(&config)
		return func() error {
			csr := newCSR(t, key, names())
			_, err := newWay(t, config).Renew(t.Context(), renew.Request{Old: old, CSR: csr})
			return err
		}
	}
	more := names()
	more.DNSNames = []string{"example.org"}
	tokens := s.server.Tokens()
	for name, c := range map[string]struct {
		do         func() error
		class      error
		text, hint string
	}{
		"another common name": {csrOf(pki.CommonName("root")), renew.ErrRejected, "common name root not allowed by this role", "must allow the names"},
		"another DNS name":    {csrOf(more), renew.ErrRejected, "example.org not allowed by this role", "must allow the names"},
		"expired":             {renewal(s.issued(s.server.Issuer, key, expired)), renew.ErrRejected, "invalid certificate", "has expired; enroll again"},
		"of another CA":       {renewal(s.issued(other, key, nil)), renew.ErrRejected, "invalid certificate", "does not accept the certificate in use"},
		"wrong token": {func() error { _, err := s.way.Enroll(t.Context(), newCSR(t, key, names()), "hvs.wrong"); return err },
			renew.ErrRejected, "permission denied", "policy of the token"},
		"unknown login role":    {with(func(c *vault.Config) { c.LoginRole = "none" }), renew.ErrRejected, "no chain matching", "check the role"},
		"unknown role":          {with(func(c *vault.Config) { c.Role, c.LoginRole = "none", vaulttest.Role }), renew.ErrRejected, "unknown role: none", "vault list"},
		"unknown mount":         {with(func(c *vault.Config) { c.Mount = "none" }), renew.ErrUnreachable, "no handler for route", "it has no none/sign/app"},
		"unknown login mount":   {with(func(c *vault.Config) { c.LoginMount = "none" }), renew.ErrRejected, "permission denied", "policy"},
		"unknown namespace":     {with(func(c *vault.Config) { c.Namespace = "none" }), renew.ErrUnreachable, "status 404", "the namespace"},
		"sealed":                {renewal(old), renew.ErrUnreachable, "status 503: Vault is sealed", "vault operator unseal"},
		"not for authenticate":  {renewal(s.issued(s.server.Issuer, key, serverOnly)), renew.ErrRejected, "invalid certificate", "does not accept"},
		"another key's request": {func() error { _, err := s.way.Enroll(t.Context(), badSignature(t, key), s.server.Token()); return err }, renew.ErrRejected, "could not be parsed", "check the role"},
	} {
		t.Run(name, func(t *testing.T) {
			s.server.Seal(name == "sealed")
			err := c.do()
			if !errors.Is(err, c.class) || errors.Is(err, renew.ErrRejected) && errors.Is(err, renew.ErrUnreachable) {
				t.Errorf("class: %v", err)
			}
			if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(signer.Hint(err), c.hint) {
				t.Errorf("%v\nhint: %s", err, signer.Hint(err))
			}
		})
	}
	if n := s.server.Tokens(); n != tokens+1 { // that of the last case
		t.Errorf("%d tokens are valid, want %d", n, tokens+1)
	}
	for _, token := range []string{"", "hvs.a secret", "secret\nsecret", "sécret", strings.Repeat("secret", 1000)} {
		if _, err := s.way.Enroll(t.Context(), newCSR(t, key, names()), token); err == nil || errors.Is(err, renew.ErrRejected) || strings.Contains(err.Error(), "ret") && token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("%.20q: %v", token, err)
		}
	}
	s.server.Stop()
	_, err := s.renew(old, key)
	wantUnreachable(t, err, "refused", "check the network")
}

func serverOnly(t *x509.Certificate) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }

func badSignature(t *testing.T, key signer.Signer) []byte {
	csr := newCSR(t, key, names())
	csr[len(csr)-1] ^= 1
	return csr
}

func wantUnreachable(t *testing.T, err error, text, hint string) {
	t.Helper()
	if !errors.Is(err, renew.ErrUnreachable) || errors.Is(err, renew.ErrRejected) || !strings.Contains(err.Error(), text) || !strings.Contains(signer.Hint(err), hint) {
		t.Errorf("%v; hint: %s", err, signer.Hint(err))
	}
}

// A Renewer renews three times in a row, and changes the key.
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
