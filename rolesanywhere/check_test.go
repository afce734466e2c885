package rolesanywhere

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestCheckChain(t *testing.T) {
	now := time.Now()
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	long := ca
	for range 6 {
		long = long.Intermediate(t, "more")
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p256 := signertest.Key(t, "p256")
	leaf := func(mutate func(*x509.Certificate)) []*x509.Certificate {
		return []*x509.Certificate{ca.Issue(t, p256, mutate), ca.Cert}
	}
	changed := func(change func(*x509.Certificate)) []*x509.Certificate {
		chain := leaf(nil)
		change(chain[0])
		return chain
	}
	oldCA := *ca.Cert
	oldCA.NotAfter = now.Add(-time.Hour)
	sha1CA := *ca.Cert
	sha1CA.SignatureAlgorithm = x509.SHA1WithRSA

	for _, c := range []struct {
		name  string
		chain []*x509.Certificate
		ok    bool
	}{
		{"P-256", leaf(nil), true},
		{"P-384", []*x509.Certificate{ca.Issue(t, signertest.Key(t, "p384"), nil)}, true},
		{"P-521", []*x509.Certificate{ca.Issue(t, signertest.Key(t, "p521"), nil)}, true},
		{"RSA", []*x509.Certificate{ca.Issue(t, signertest.Key(t, "rsa2048"), nil)}, true},
		{"no basicConstraints", leaf(func(c *x509.Certificate) { c.BasicConstraintsValid = false }), true},
		{"no extended key usage", leaf(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), true},
		{"five intermediates", append(leaf(nil)[:1], long.Chain()[:5]...), true},
		{"no certificate", nil, false},
		{"six intermediates, of which the trust anchor may be one", append(leaf(nil)[:1], long.Chain()[:6]...), true},
		{"Ed25519", []*x509.Certificate{ca.Issue(t, signertest.Key(t, "ed25519"), nil)}, false},
		{"P-224", []*x509.Certificate{ca.Issue(t, p224, nil)}, false},
		{"version 1", changed(func(c *x509.Certificate) { c.Version = 1 }), false},
		{"a CA", leaf(func(c *x509.Certificate) { c.IsCA = true }), false},
		{"no key usage", leaf(func(c *x509.Certificate) { c.KeyUsage = 0 }), false},
		{"only key encipherment", leaf(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), false},
		{"SHA-1", changed(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA }), false},
		{"MD5", changed(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.MD5WithRSA }), false},
		{"SHA-1 intermediate, which may not be needed", []*x509.Certificate{leaf(nil)[0], &sha1CA}, true},
		{"no subject", leaf(func(c *x509.Certificate) { c.Subject = pkix.Name{} }), false},
		{"SVID", leaf(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/app"}} }), true},
		{"SVID without a subject", leaf(func(c *x509.Certificate) {
			c.Subject, c.URIs = pkix.Name{}, []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/app"}}
		}), false},
		{"expired", leaf(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }), false},
		{"valid in a minute", leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) }), true},
		{"valid in five minutes", leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(5 * time.Minute) }), true},
		{"not yet valid", leaf(func(c *x509.Certificate) { c.NotBefore = now.Add(5*time.Minute + 2*time.Second) }), false},
		{"expired intermediate, which may not be needed", []*x509.Certificate{leaf(nil)[0], &oldCA}, true},
	} {
		err := CheckChain(c.chain, now)
		if c.ok && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.ok && err == nil {
			t.Errorf("%s: accepted", c.name)
		}
		if err != nil && signer.Hint(err) == "" && !errors.Is(err, signer.ErrNoCertificate) {
			t.Errorf("%s: %v has no hint", c.name, err)
		}
	}
}
