package stepca_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca/stepcatest"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A site is a step-ca server with its client.
type site struct {
	*testing.T
	server *stepcatest.CA
	way    *stepca.CA
}

func newSite(t *testing.T) site {
	server := stepcatest.Start(t, 24*time.Hour)
	return site{t, server, newWay(t, stepca.Config{URL: server.URL, Roots: server.Roots})}
}

func newWay(t *testing.T, config stepca.Config) *stepca.CA {
	t.Helper()
	way, err := stepca.New(config)
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

// names are those of all certificates.
func names() pki.Names {
	n := pki.CommonName("app-17")
	n.DNSNames = []string{"app.example.com"}
	return n
}

// enrol returns the key with its first certificate.
func (s site) enrol(key signer.Signer, provisioner string) signer.Signer {
	s.Helper()
	certs, err := s.way.Enroll(s.Context(), newCSR(s.T, key, names()), s.server.Token(s, provisioner, "app-17", "app.example.com"))
	if err != nil {
		s.Fatal(err)
	}
	return s.bind(key, certs)
}

func (s site) bind(key signer.Signer, certs []*x509.Certificate) signer.Signer {
	s.Helper()
	bound, err := signer.Bind(key, certs, time.Now())
	if err != nil {
		s.Fatal(err)
	}
	return bound
}

// expired returns the key with a certificate like its own that has expired a
// minute ago. The Issuer issues it, because step-ca issues none.
func (s site) expired(key signer.Signer) signer.Signer {
	s.Helper()
	old := key.Chain()[0]
	cert := s.server.Issuer.Issue(s, key, func(c *x509.Certificate) {
		c.Subject, c.DNSNames = old.Subject, old.DNSNames
		c.KeyUsage, c.ExtKeyUsage = old.KeyUsage, old.ExtKeyUsage
		c.NotBefore, c.NotAfter = time.Now().Add(-30*time.Minute), time.Now().Add(-time.Minute)
		for _, e := range old.Extensions { // the one of step-ca names the provisioner
			if strings.HasPrefix(e.Id.String(), "1.3.6.1.4.1.37476.") {
				c.ExtraExtensions = append(c.ExtraExtensions, e)
			}
		}
	})
	return s.bind(key, append([]*x509.Certificate{cert}, s.server.Issuer.Chain()...))
}

// renew renews the certificate of old, for the key.
func (s site) renew(old, key signer.Signer) ([]*x509.Certificate, error) {
	s.Helper()
	return s.way.Renew(s.Context(), renew.Request{Old: old, CSR: newCSR(s.T, key, pki.NamesOf(old.Chain()[0]))})
}

// wantRenewed renews the certificate and returns the key with the new one, which
// must have the identity and the lifetime of the old one.
func (s site) wantRenewed(old, key signer.Signer) signer.Signer {
	s.Helper()
	certs, err := s.renew(old, key)
	if err != nil {
		s.Fatalf("%v; hint: %s", err, signer.Hint(err))
	}
	renewed := s.bind(key, certs)
	before, after := old.Chain()[0], renewed.Chain()[0]
	if before.SerialNumber.Cmp(after.SerialNumber) == 0 || before.NotAfter.Sub(before.NotBefore) != after.NotAfter.Sub(after.NotBefore) {
		s.Errorf("serial number %v after %v, not after %v", after.SerialNumber, before.SerialNumber, after.NotAfter)
	}
	if d := pki.Compare(before, after); len(d) > 0 {
		s.Errorf("%v", d)
	}
	if err := rolesanywhere.CheckChain(renewed.Chain(), time.Now()); err != nil {
		s.Error(err)
	}
	if _, err := after.Verify(x509.VerifyOptions{Roots: s.server.Roots, Intermediates: poolOf(renewed.Chain()[1:]), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		s.Error(err)
	}
	return renewed
}

func poolOf(certs []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}

// Keys of all kinds get certificates from the real step-ca in each way.
func TestStepCA(t *testing.T) {
	s := newSite(t)
	for name, newStore := range stores {
		t.Run(name, func(t *testing.T) {
			s := site{t, s.server, s.way}
			newKey := newStore(t)
			key, next := newKey(), newKey()
			old := s.enrol(key, stepcatest.AfterExpiry)
			s.wantRenewed(s.wantRenewed(old, key), key)
			s.wantRenewed(s.wantRenewed(old, next), next)
			s.wantRenewed(s.expired(old), key)
			s.wantRenewed(s.expired(old), next)
		})
	}
	t.Run("RSA without PSS", func(t *testing.T) {
		s := site{t, s.server, s.way}
		key := pkcs1Only{signer.FromKey(signertest.Key(t, "rsa2048"))}
		old := s.enrol(key, stepcatest.AfterExpiry)
		s.wantRenewed(old, key)
		s.wantRenewed(s.expired(old), key)
	})
	t.Run("RSA without PKCS #1", func(t *testing.T) {
		s := site{t, s.server, s.way}
		key := signer.FromKey(signertest.Key(t, "rsa2048"))
		old := s.enrol(key, stepcatest.AfterExpiry)
		s.wantRenewed(pssOnly{s.expired(old)}, key)
	})
}

type pkcs1Only struct{ signer.Signer }

func (pkcs1Only) SignatureSchemes() []tls.SignatureScheme {
	return []tls.SignatureScheme{tls.PKCS1WithSHA256}
}

type pssOnly struct{ signer.Signer }

func (pssOnly) SignatureSchemes() []tls.SignatureScheme {
	return []tls.SignatureScheme{tls.PSSWithSHA256}
}

// The local clock can be wrong by some minutes.
func TestClock(t *testing.T) {
	s := newSite(t)
	key := signer.FromKey(signertest.Key(t, "p256"))
	old := s.enrol(key, stepcatest.AfterExpiry)
	s.way = newWay(t, stepca.Config{URL: s.server.URL, Roots: s.server.Roots, Now: func() time.Time { return time.Now().Add(-2 * time.Minute) }})
	s.wantRenewed(s.expired(old), key) // the certificate has not expired by this clock
	for name, wrong := range map[string]time.Duration{"behind": -time.Hour, "ahead": 1000 * time.Hour} {
		s.way = newWay(t, stepca.Config{URL: s.server.URL, Roots: s.server.Roots, Now: func() time.Time { return time.Now().Add(wrong) }})
		_, err := s.renew(s.expired(old), key)
		if !errors.Is(err, renew.ErrRejected) || !strings.Contains(signer.Hint(err), "check the clock") {
			t.Errorf("%s: %v; hint: %s", name, err, signer.Hint(err))
		}
	}
}

// The server refuses what it must, and the error says why and what to do.
func TestRefused(t *testing.T) {
	s := newSite(t)
	key := signer.FromKey(signertest.Key(t, "p256"))
	old := s.enrol(key, stepcatest.Provisioner)
	revoked := s.enrol(key, stepcatest.AfterExpiry)
	s.server.Revoke(t, revoked.Chain()[0])
	other := signertest.NewCA(t, "another CA")
	foreign := s.bind(key, []*x509.Certificate{other.Issue(t, key, nil)})
	used := s.server.Token(t, stepcatest.Provisioner, "app-17", "app.example.com")
	csr := newCSR(t, key, names())
	if _, err := s.way.Enroll(t.Context(), csr, used); err != nil {
		t.Fatal(err)
	}
	enrol := func(token string, names pki.Names) func() error {
		return func() error { _, err := s.way.Enroll(t.Context(), newCSR(t, key, names), token); return err }
	}
	renewal := func(old signer.Signer) func() error {
		return func() error { _, err := s.renew(old, key); return err }
	}
	for name, c := range map[string]struct {
		do         func() error
		text, hint string
	}{
		"expired":                     {renewal(s.expired(old)), "certificate expired on", "allowRenewalAfterExpiry"},
		"revoked":                     {renewal(revoked), "refuses the request", "enroll again"},
		"renewal disabled":            {renewal(s.enrol(key, stepcatest.NoRenewal)), "refuses the request", "enroll again"},
		"of another CA":               {renewal(foreign), "unknown certificate authority", "check that this CA has issued"},
		"expired, without its issuer": {renewal(s.bind(key, s.expired(old).Chain()[:1])), "error validating renew token", "certificate of the issuer"},
		"token used twice":            {enrol(used, names()), "refuses the request", "for one use"},
		"token of another name":       {enrol(s.server.Token(t, stepcatest.Provisioner, "other"), names()), "refuses the request", "one-time token"},
		"token of nobody":             {enrol(s.server.Token(t, "nobody", "app-17"), names()), "refuses the request", "one-time token"},
		"renewal token":               {enrol(strings.Repeat("x", 40)+".e30.AAAA", names()), "refuses the request", "one-time token"},
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
	s.wantRenewed(s.bind(key, old.Chain()[:1]), key) // the CA knows the issuer
	s.server.Stop()
	_, err := s.renew(old, key)
	wantUnreachable(t, err, "refused", "check the network")
}

// A proxy that ends TLS hides the certificate of the client, but not a token.
func TestReverseProxy(t *testing.T) {
	s := newSite(t)
	target, err := url.Parse(s.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.server.Roots}}
	front := httptest.NewTLSServer(proxy)
	defer front.Close()
	key := signer.FromKey(signertest.Key(t, "p256"))
	old := s.enrol(key, stepcatest.AfterExpiry)
	s.way = newWay(t, stepca.Config{URL: front.URL, Roots: poolOf([]*x509.Certificate{front.Certificate()})})
	if _, err := s.renew(old, key); !errors.Is(err, renew.ErrRejected) || !strings.Contains(err.Error(), "missing client certificate") || !strings.Contains(signer.Hint(err), "ends TLS") {
		t.Errorf("%v; hint: %s", err, signer.Hint(err))
	}
	s.wantRenewed(s.expired(old), key)
}
