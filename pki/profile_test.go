package pki_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestProfileCheck(t *testing.T) {
	for _, p := range append(pki.Profiles(), pki.Root) {
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
	for name, c := range map[string]struct {
		base   pki.Profile
		change func(*pki.Profile)
		want   string
	}{
		"no lifetime":           {pki.Client, func(p *pki.Profile) { p.Lifetime = 0 }, "lifetime"},
		"a CA that cannot sign": {pki.Intermediate, func(p *pki.Profile) { p.KeyUsage = x509.KeyUsageCRLSign }, "keyCertSign"},
		"a machine that signs":  {pki.Client, func(p *pki.Profile) { p.KeyUsage |= x509.KeyUsageCertSign }, "only a CA"},
		"no usage":              {pki.Server, func(p *pki.Profile) { p.KeyUsage = 0 }, "no key usage"},
		"no digital signature":  {pki.Client, func(p *pki.Profile) { p.KeyUsage = x509.KeyUsageKeyAgreement }, "digitalSignature"},
	} {
		c.change(&c.base)
		if err := c.base.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Only names that can be session tags are in a certificate for IAM Roles
// Anywhere; other profiles accept them.
func TestCheckTags(t *testing.T) {
	number, err := asn1.Marshal(pkix.RDNSequence{{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: 7}}})
	if err != nil {
		t.Fatal(err)
	}
	uri := func(s string) pki.Names {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		n := pki.CommonName("app")
		n.URIs = []*url.URL{u}
		return n
	}
	dns := pki.CommonName("app")
	dns.DNSNames = []string{"*.example.com"}
	for name, n := range map[string]pki.Names{
		"comma": pki.CommonName("a,b"), "ampersand": pki.CommonName("a&b"), "newline": pki.CommonName("a\nb"), "emoji": pki.CommonName("app 🚀"),
		"long": pki.CommonName(strings.Repeat("x", 257)), "number": {Subject: number}, "query": uri("https://example.com/?a=b"), "wildcard": dns,
	} {
		if err := n.CheckTags(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, n := range []pki.Names{pki.CommonName("Zürich 東京 a_b.c:d/e=f+g-h@i"), uri("spiffe://example.com/app"), {}} {
		if err := n.CheckTags(); err != nil {
			t.Error(err)
		}
	}
	now := time.Now().UTC().Truncate(time.Second)
	issuer, _ := newCA(t, "p256", 0, now)
	serial, err := pki.NewSerial(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := pki.Template{Names: pki.CommonName("a,b"), PublicKey: signertest.Key(t, "p256").Public(), Serial: serial, NotBefore: now, NotAfter: now.Add(time.Hour)}
	for _, c := range []struct {
		profile pki.Profile
		ok      bool
	}{{pki.Client, false}, {pki.Server, true}} {
		template.Profile = c.profile
		if _, err := pki.Issue(rand.Reader, issuer, template); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.profile.Name, err)
		}
	}
}
