package pki_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A request for a renewal has the subject and the alternative names of the
// certificate byte by byte, whatever types, order and strings the CA has chosen.
func TestNewRenewalRequest(t *testing.T) {
	ca := signertest.NewCA(t, "CA")
	key := signer.FromKey(signertest.Key(t, "p256"))
	san := asn1.ObjectIdentifier{2, 5, 29, 17}
	printable, err := asn1.MarshalWithParams("app", "printable")
	if err != nil {
		t.Fatal(err)
	}
	teletex := asn1.RawValue{Tag: asn1.TagT61String, Bytes: []byte("unit")}
	subject, err := asn1.Marshal(pkix.RDNSequence{
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: asn1.RawValue{FullBytes: printable}}, {Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: teletex}},
		{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "ACME"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	names := func(values ...asn1.RawValue) []byte {
		der, err := asn1.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	uri := asn1.RawValue{Class: 2, Tag: 6, Bytes: []byte("spiffe://example.org/app")}
	dns := asn1.RawValue{Class: 2, Tag: 2, Bytes: []byte("app.example.org")}
	registered := asn1.RawValue{Class: 2, Tag: 8, Bytes: []byte{0x2a, 3}}
	for name, c := range map[string]struct {
		subject    []byte
		extensions []pkix.Extension
	}{
		"no alternative names": {subject: subject},
		"an order of its own":  {subject, []pkix.Extension{{Id: san, Value: names(uri, dns)}}},
		"critical":             {subject, []pkix.Extension{{Id: san, Critical: true, Value: names(dns)}}},
		"other types":          {subject, []pkix.Extension{{Id: san, Value: names(registered, dns)}}},
		"no subject":           {[]byte{0x30, 0}, []pkix.Extension{{Id: san, Critical: true, Value: names(dns)}}},
		"others":               {subject, []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 37476, 9000, 64, 1}, Value: []byte{5, 0}}}},
	} {
		cert := ca.Issue(t, key, func(t *x509.Certificate) {
			t.RawSubject, t.ExtraExtensions = c.subject, c.extensions
		})
		der, err := pki.NewRenewalRequest(rand.Reader, key, cert)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := x509.ParseCertificateRequest(der)
		if err != nil || got.CheckSignature() != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var want []pkix.Extension
		for _, e := range c.extensions {
			if e.Id.Equal(san) {
				want = append(want, e)
			}
		}
		same := len(got.Extensions) == len(want)
		for i := range want {
			same = same && got.Extensions[i].Critical == want[i].Critical && bytes.Equal(got.Extensions[i].Value, want[i].Value)
		}
		if !bytes.Equal(got.RawSubject, c.subject) || !same {
			t.Errorf("%s: %x, %v", name, got.RawSubject, got.Extensions)
		}
	}
}
