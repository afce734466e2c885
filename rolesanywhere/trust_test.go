package rolesanywhere

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestCheckTrust(t *testing.T) {
	root := signertest.NewCA(t, "root")
	upper := root.Intermediate(t, "upper")
	lower := upper.Intermediate(t, "lower")
	other, sameName := signertest.NewCA(t, "other"), signertest.NewCA(t, "root")
	key := signertest.NewKey(t, "p256")
	leaf := lower.Issue(t, key, nil)
	now := time.Now()
	select1 := func(certs ...*x509.Certificate) signer.Certificates {
		c, err := signer.SelectCertificates(key.Public(), certs, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	full := select1(leaf, lower.Cert, upper.Cert)
	encoded := asUTF8(t, root.Cert, root.Key)
	otherKey := signertest.NewKey(t, "p256")
	printed := asUTF8(t, sameName.Cert, otherKey)
	for _, test := range []struct {
		name   string
		certs  signer.Certificates
		anchor []*x509.Certificate
		now    time.Time
		want   string // part of the error; "": none
	}{
		{"root", full, []*x509.Certificate{root.Cert}, now, ""},
		{"intermediate", full, []*x509.Certificate{upper.Cert}, now, ""},
		{"issuer", select1(leaf), []*x509.Certificate{lower.Cert}, now, ""},
		{"two", full, []*x509.Certificate{other.Cert, root.Cert}, now, ""},
		{"none", full, nil, now, "0 certificates"},
		{"three", full, []*x509.Certificate{other.Cert, root.Cert, upper.Cert}, now, "3 certificates"},
		{"leaf", full, []*x509.Certificate{leaf}, now, "is not a CA certificate"},
		{"other", full, []*x509.Certificate{other.Cert}, now, `"CN=upper" was issued by "CN=root", but the trust anchor contains "CN=other"`},
		{"same name", full, []*x509.Certificate{sameName.Cert}, now, "but has another key"},
		{"same printed name", full, []*x509.Certificate{printed}, now, "but has another key"},
		{"other encoding", full, []*x509.Certificate{encoded}, now, "another encoding of this name"},
		{"intermediate missing", select1(leaf, lower.Cert), []*x509.Certificate{root.Cert}, now, `"CN=lower" was issued by "CN=upper"`},
		{"anchor expired", full, []*x509.Certificate{root.Cert}, now.AddDate(11, 0, 0), "of the trust anchor expired"},
		{"no certificate", signer.Certificates{}, []*x509.Certificate{root.Cert}, now, "no certificate"},
	} {
		err := CheckTrust(test.certs, test.anchor, test.now)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if err != nil && len(test.certs.Chain) > 0 && len(test.anchor) == 1 && signer.Hint(err) == "" {
			t.Errorf("%s: no hint: %v", test.name, err)
		}
	}
}

// asUTF8 returns a self-signed certificate like c, but for key, and with the common
// name as a UTF8String.
func asUTF8(t *testing.T, c *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	template := *c
	template.PublicKey = key.Public()
	template.RawSubject = bytes.Replace(c.RawSubject, []byte("\x13\x04root"), []byte("\x0c\x04root"), 1)
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Problems returns all that is wrong.
func TestProblems(t *testing.T) {
	ca := signertest.NewCA(t, "ca")
	leaf := ca.Issue(t, signertest.NewKey(t, "ed25519"), func(c *x509.Certificate) {
		c.KeyUsage, c.Subject, c.NotAfter = 0, pkix.Name{}, time.Now().Add(-time.Minute)
	})
	problems := Problems(leaf, time.Now())
	if len(problems) != 4 {
		t.Errorf("%d problems: %v", len(problems), problems)
	}
	for _, p := range problems {
		if signer.Hint(p) == "" {
			t.Errorf("no hint: %v", p)
		}
	}
	if problems := Problems(ca.Issue(t, signertest.NewKey(t, "p256"), nil), time.Now()); len(problems) != 0 {
		t.Errorf("%v", problems)
	}
}
