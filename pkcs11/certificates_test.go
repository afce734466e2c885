package pkcs11

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Of several certificates for a key on the token, in any order, the time decides
// which one is used. All issuers are found, and those of other keys are not used.
func TestCertificatesOnToken(t *testing.T) {
	key := signertest.Key(t, "p256")
	root, other := signertest.NewCA(t, "root"), signertest.NewCA(t, "other")
	ca := root.Intermediate(t, "ca")
	start := time.Now()
	issue := func(from, to time.Duration) *x509.Certificate {
		return ca.Issue(t, key, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = start.Add(from), start.Add(to) })
	}
	cross := other.Issue(t, ca.Key, func(c *x509.Certificate) {
		c.Subject, c.SubjectKeyId = ca.Cert.Subject, ca.Cert.SubjectKeyId
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		c.NotBefore, c.NotAfter = start.AddDate(0, 0, -20), start.AddDate(0, 0, 20)
	})
	const day = 24 * time.Hour
	past, current, next := issue(-9*day, -2*day), issue(-day, 2*day), issue(day, 9*day)
	foreign := ca.Issue(t, signertest.NewKey(t, "p256"), nil)
	certs := []*x509.Certificate{next, cross, past, foreign, current, ca.Cert, root.Cert}
	for range len(certs) {
		certs = append(certs[1:], certs[0])
		token := newFakeToken("hsm")
		token.addKey(key, "key", "\x01")
		for _, c := range certs {
			token.addCertificate(c.Raw, "key", "\x01")
		}
		for _, test := range []struct {
			after time.Duration
			want  *x509.Certificate
		}{{-4 * day, past}, {0, current}, {5 * day, next}} {
			b := newFixture(t, token)
			p := person{pin: fakePIN}
			cfg := b.configOf(t, "pkcs11:object=key", &p)
			cfg.Now = func() time.Time { return start.Add(test.after) }
			k, err := open(t.Context(), cfg, b.table)
			if err != nil {
				t.Fatal(err)
			}
			found := k.Certificates()
			if !found.Chain[0].Equal(test.want) {
				t.Errorf("after %v: the certificate until %v is used", test.after, found.Chain[0].NotAfter)
			}
			if issued := found.Issued(); len(issued) != 3 || !slices.ContainsFunc(issued, cross.Equal) || !slices.ContainsFunc(issued, ca.Cert.Equal) {
				t.Errorf("after %v: %d certificates", test.after, len(issued))
			}
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// A key whose token has only certificates of other keys has no chain.
func TestOnlyCertificatesOfOtherKeysOnToken(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	token.addCertificate(ca.Cert.Raw, "ca", "\x02")
	b := newFixture(t, token)
	p := person{pin: fakePIN}
	k, err := open(t.Context(), b.configOf(t, "pkcs11:object=key", &p), b.table)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if found := signer.CertificatesOf(k); k.Chain() != nil || len(found.Others) != 1 {
		t.Errorf("chain of %d certificates, %d others", len(k.Chain()), len(found.Others))
	}
}
