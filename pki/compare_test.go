package pki_test

import (
	"crypto/x509"
	"encoding/asn1"
	"testing"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// One name with a space is not two names, and names are shown as they are.
func TestCompareNames(t *testing.T) {
	ca, key := signertest.NewCA(t, "CA"), signertest.Key(t, "p256")
	with := func(names ...string) *x509.Certificate {
		// crypto/x509 does not issue some of these names.
		return &x509.Certificate{RawSubject: ca.Cert.RawSubject, PublicKey: key.Public(), DNSNames: names}
	}
	for _, test := range []struct {
		old, renewed []string
		want         string // "": no difference
	}{
		{[]string{"a.example", "*.b.example"}, []string{"a.example", "*.b.example"}, ""},
		{[]string{"a", "b"}, []string{"a b"}, `DNS names: "a\\ b" instead of "a b"`},
		{[]string{`a\`, "b"}, []string{`a\ b`}, `DNS names: "a\\\\\\ b" instead of "a\\\\ b"`},
		{[]string{"a.example"}, []string{"*.b.example"}, `DNS names: "*.b.example" instead of "a.example"`},
	} {
		got := ""
		for _, d := range pki.Compare(with(test.old...), with(test.renewed...)) {
			got += d.String()
		}
		if got != test.want {
			t.Errorf("%q, then %q: %s, want %s", test.old, test.renewed, got, test.want)
		}
	}
}

// A certificate with a critical extension that verifiers may not know is another one.
func TestCompareCriticalExtensions(t *testing.T) {
	old, renewed := new(x509.Certificate), new(x509.Certificate)
	renewed.UnhandledCriticalExtensions = []asn1.ObjectIdentifier{{1, 2, 3, 4}}
	if got := pki.Compare(old, renewed); len(got) != 1 || got[0].String() != `unknown critical extensions: "1.2.3.4" instead of none` {
		t.Errorf("%v", got)
	}
}
