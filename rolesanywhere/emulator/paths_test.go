package emulator

import (
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// If the emulator finds a path in a bundle, it also finds one among the
// certificates that a client selects from it.
func TestSelectedCertificatesVerify(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	var all []certKey
	for i := range 5 {
		template := caTemplate(fmt.Sprint("CA ", i))
		template.SubjectKeyId = []byte{byte(i)}
		all = append(all, newRoot(t, template))
	}
	client := ecKey(t, elliptic.P256())
	changes := []func(*x509.Certificate){
		func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) },
		func(c *x509.Certificate) { c.NotBefore = testNow.Add(time.Hour) },
		func(c *x509.Certificate) { c.IsCA = false },
		func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature },
		func(c *x509.Certificate) { c.MaxPathLenZero = true },
		func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{nameConstraints(t, []pkix.Name{{CommonName: "other"}}, nil)}
		},
		func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{nameConstraints(t, nil, []pkix.Name{{CommonName: "client"}})}
		},
	}
	verified := 0
	for range 200 {
		leaf := all[0].certify(t, leafTemplate("client"), client.Public())
		certs := []*x509.Certificate{leaf}
		for range 3 + random.IntN(6) {
			issuer, subject := all[random.IntN(len(all))], all[random.IntN(len(all))]
			template := caTemplate(subject.cert.Subject.CommonName)
			template.SubjectKeyId = subject.cert.SubjectKeyId
			if random.IntN(2) == 0 {
				changes[random.IntN(len(changes))](template)
			}
			certs = append(certs, issuer.certify(t, template, subject.key.Public()))
		}
		random.Shuffle(len(certs), func(i, j int) { certs[i], certs[j] = certs[j], certs[i] })
		got, err := signer.SelectCertificates(client.Public(), certs, testNow)
		if err != nil {
			t.Fatal(err)
		}
		var sent []*x509.Certificate
		for _, c := range got.Issued()[1:] {
			if !testNow.Before(c.NotBefore) && !testNow.After(c.NotAfter) {
				sent = append(sent, c)
			}
		}
		if len(sent) > 5 {
			continue // not every path fits
		}
		for _, ca := range all {
			if verdict(t, ca, append([]*x509.Certificate{leaf}, certs...)...) != nil {
				continue
			}
			verified++
			if err := verdict(t, ca, append([]*x509.Certificate{leaf}, sent...)...); err != nil {
				t.Errorf("seed %d: %d of %d certificates, trust anchor %s: %v", seed, len(sent), len(certs), ca.cert.Subject, err)
			}
		}
	}
	if verified < 50 {
		t.Errorf("seed %d: only %d paths verified", seed, verified)
	}
}
