package renewing

import (
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A first certificate that is not the one of the request is refused.
func TestCheckOfEnroll(t *testing.T) {
	key := signertest.Key(t, "p256")
	der, err := pki.NewRequest(rand.Reader, signer.FromKey(key), pki.CommonName("app"))
	if err != nil {
		t.Fatal(err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, test := range []struct {
		name        string
		change      func(*x509.Certificate)
		allowChange bool
		want        string
	}{
		{"good", func(*x509.Certificate) {}, false, ""},
		{"another subject", func(c *x509.Certificate) { c.Subject.CommonName = "admin" }, false, "other names"},
		{"another DNS name", func(c *x509.Certificate) { c.DNSNames = []string{"admin.example.com"} }, false, "other names"},
		{"another subject that is allowed", func(c *x509.Certificate) { c.Subject.CommonName = "admin" }, true, ""},
		{"expired", func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }, true, "expired"},
		{"a CA", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, true, "of a CA"},
	} {
		c := signertest.NewCA(t, "CA").Issue(t, key, func(c *x509.Certificate) {
			c.Subject.CommonName = "app"
			test.change(c)
		})
		f := enrollFlags{allowChange: test.allowChange}
		err := f.check(request, c, now)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || signer.Hint(err) == "") {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
