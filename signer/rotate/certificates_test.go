package rotate_test

import (
	"context"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A renewal that becomes valid later can be beside the current certificate from
// the start. It is used when the current one has expired. The borrower gets the
// issuers of all paths.
func TestRenewalBesideCurrentCertificate(t *testing.T) {
	start := time.Now()
	now := start
	key := signertest.Key(t, "p256")
	root, other := signertest.NewCA(t, "root"), signertest.NewCA(t, "other")
	ca := root.Intermediate(t, "ca")
	cross := other.Issue(t, ca.Key, func(c *x509.Certificate) {
		c.Subject, c.SubjectKeyId = ca.Cert.Subject, ca.Cert.SubjectKeyId
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		c.NotAfter = start.AddDate(1, 0, 0)
	})
	issue := func(from, to time.Duration) *x509.Certificate {
		return ca.Issue(t, key, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = start.Add(from), start.Add(to) })
	}
	current, next := issue(-time.Hour, 2*time.Hour), issue(time.Hour, 99*time.Hour)
	certs := []*x509.Certificate{next, cross, current, ca.Cert}
	id := identity(t, rotate.Config{
		Now: func() time.Time { return now },
		Open: func(context.Context) (signer.Signer, error) {
			return signer.Bind(signer.FromKey(key), certs, now)
		},
	})
	for _, test := range []struct {
		after time.Duration
		want  *x509.Certificate
	}{{0, current}, {90 * time.Minute, current}, {2*time.Hour + time.Minute, next}, {98 * time.Hour, next}} {
		now = start.Add(test.after)
		lent, err := id.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		issued := signer.CertificatesOf(lent).Issued()
		if !issued[0].Equal(test.want) || !lent.Chain()[0].Equal(test.want) {
			t.Errorf("after %v: the certificate until %v is used", test.after, issued[0].NotAfter)
		}
		if len(issued) != 3 || !slices.ContainsFunc(issued, cross.Equal) || !slices.ContainsFunc(issued, ca.Cert.Equal) {
			t.Errorf("after %v: %d certificates", test.after, len(issued))
		}
		if err := lent.Close(); err != nil {
			t.Error(err)
		}
	}
}
