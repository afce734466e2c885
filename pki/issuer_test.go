package pki_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// foreignCA returns a CA that another program made.
func foreignCA(t *testing.T, kind string, change func(*x509.Certificate)) pki.Issuer {
	t.Helper()
	key := signertest.Key(t, kind)
	now := time.Now().UTC().Truncate(time.Second)
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "Foreign CA"}, SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pki.Issuer{Certificate: c, Key: signer.FromKey(key)}
}

// A foreign CA issues nothing that verifiers, or IAM Roles Anywhere, refuse
// because of the CA.
func TestForeignIssuers(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Second)
	dirName, err := asn1.Marshal(pkix.Name{Organization: []string{"Example"}}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	type raw = asn1.RawValue
	constraint := func(base raw) []byte {
		tree, err := asn1.Marshal([]struct{ Base raw }{{base}})
		if err != nil {
			t.Fatal(err)
		}
		der, err := asn1.Marshal(raw{Class: asn1.ClassUniversal, Tag: asn1.TagSequence, IsCompound: true,
			Bytes: append([]byte{0xa0}, tree[1:]...)})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	directory := constraint(raw{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: dirName})
	extension := func(critical bool, value []byte, id ...int) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: value}}
		}
	}
	within := pki.Names{Subject: dirName}
	elsewhere := pki.CommonName("app")
	elsewhere.DNSNames = []string{"app.example.org"}
	inside := pki.CommonName("app")
	inside.DNSNames = []string{"app.example.com"}
	dns := func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"example.com"}
	}
	for name, c := range map[string]struct {
		kind    string
		change  func(*x509.Certificate)
		profile pki.Profile
		names   pki.Names
		want    string // "": no error
	}{
		"plain":                            {"p256", nil, pki.Client, elsewhere, ""},
		"DNS name that is permitted":       {"p256", dns, pki.Client, inside, ""},
		"DNS name that is not permitted":   {"p256", dns, pki.Server, elsewhere, "refuse the certificate"},
		"directory name that is permitted": {"p256", extension(true, directory, 2, 5, 29, 30), pki.Client, within, ""},
		"another directory name":           {"p256", extension(true, directory, 2, 5, 29, 30), pki.Client, elsewhere, "do not permit"},
		"critical extension":               {"p256", extension(true, []byte{5, 0}, 1, 2, 3), pki.Server, elsewhere, "unhandled critical extension"},
		"extension that is not critical":   {"p256", extension(false, []byte{5, 0}, 1, 2, 3), pki.Client, elsewhere, ""},
		"Ed25519, for a client":            {"ed25519", nil, pki.Client, elsewhere, "the key of the CA: Ed25519"},
		"Ed25519, for a server":            {"ed25519", nil, pki.Server, elsewhere, ""},
		"no key usage, for a client":       {"p256", func(c *x509.Certificate) { c.KeyUsage = 0 }, pki.Client, elsewhere, "lacks keyCertSign"},
		"a name that cannot be a tag": {"p256", func(c *x509.Certificate) { c.Subject.CommonName = "Foo, Inc. (CA)" }, pki.Client, elsewhere,
			"subject of the CA"},
	} {
		t.Run(name, func(t *testing.T) {
			issuer := foreignCA(t, c.kind, c.change)
			cert, err := pki.Issue(rand.Reader, issuer, pki.Template{Profile: c.profile, Names: c.names, PublicKey: signertest.Key(t, "p256").Public(),
				Serial: big.NewInt(2), NotBefore: now, NotAfter: now.Add(time.Minute)})
			if (c.want == "") != (err == nil) || (cert != nil) != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v; want %q", cert, err, c.want)
			}
		})
	}
}

// The limits of a source identity and of session tags hold for all values of a
// type together.
func TestCheckClient(t *testing.T) {
	name := func(values ...pkix.AttributeTypeAndValue) pki.Names {
		der, err := asn1.Marshal(pkix.RDNSequence{values[:1], values[1:]})
		if len(values) == 1 {
			der, err = asn1.Marshal(pkix.RDNSequence{values})
		}
		if err != nil {
			t.Fatal(err)
		}
		return pki.Names{Subject: der}
	}
	cn := func(n int) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: strings.Repeat("x", n)}
	}
	ou := func(n int) pkix.AttributeTypeAndValue {
		return pkix.AttributeTypeAndValue{Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: strings.Repeat("x", n)}
	}
	issuer := pki.CommonName("CA").Subject
	for text, c := range map[string]struct {
		names pki.Names
		want  string
	}{
		"common name of 64 characters":    {name(cn(64)), ""},
		"common name of 65 characters":    {name(cn(65)), "source identity"},
		"two common names, 40 characters": {name(cn(40), cn(40)), "source identity"},
		"two units, 127 characters":       {name(ou(127), ou(127)), ""},
		"two units, 200 characters":       {name(ou(200), ou(200)), "256 characters"},
	} {
		if err := c.names.CheckClient(issuer); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", text, err, c.want)
		}
	}
	if err := name(cn(3)).CheckClient(pki.CommonName("Foo, Inc.").Subject); err == nil || !strings.Contains(err.Error(), "subject of the CA") {
		t.Error(err)
	}
}

// A path length that is exceeded above the CA is found before it issues.
func TestCheckChain(t *testing.T) {
	root := foreignCA(t, "p256", func(c *x509.Certificate) { c.MaxPathLenZero = true; c.Subject.CommonName = "root" })
	key := signertest.Key(t, "p384")
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "sub"}, SerialNumber: big.NewInt(3), NotBefore: root.Certificate.NotBefore, NotAfter: root.Certificate.NotAfter,
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, root.Certificate, key.Public(), root.Key)
	if err != nil {
		t.Fatal(err)
	}
	sub, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := pki.CheckChain([]*x509.Certificate{sub, root.Certificate}); err == nil || !strings.Contains(err.Error(), "permits 0 CAs below it") {
		t.Error(err)
	}
	if err := pki.CheckChain([]*x509.Certificate{root.Certificate, sub}); err == nil || !strings.Contains(err.Error(), "did not issue") {
		t.Error(err)
	}
	for _, chain := range [][]*x509.Certificate{{root.Certificate}, {sub}, {root.Certificate, root.Certificate}} {
		if err := pki.CheckChain(chain); err != nil {
			t.Error(err)
		}
	}
}

// The constraints and path lengths of all CAs above hold for a certificate.
func TestCheckAbove(t *testing.T) {
	root := foreignCA(t, "p256", func(c *x509.Certificate) {
		c.Subject.CommonName, c.MaxPathLen = "root", 1
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"example.com"}, true
	})
	subKey, leafKey := signertest.Key(t, "p384"), signertest.Key(t, "rsa2048")
	notBefore, notAfter := pki.Validity(root.Certificate, time.Now(), time.Hour)
	sub := &x509.Certificate{Subject: pkix.Name{CommonName: "sub"}, SerialNumber: big.NewInt(3), NotBefore: notBefore, NotAfter: notAfter,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, sub, root.Certificate, subKey.Public(), root.Key)
	if err != nil {
		t.Fatal(err)
	}
	if sub, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	issuer := pki.Issuer{Certificate: sub, Above: []*x509.Certificate{root.Certificate}}
	for name, c := range map[string]struct {
		profile pki.Profile
		dns     []string
		want    string
	}{
		"permitted name": {pki.Server, []string{"app.example.com"}, ""},
		"other name":     {pki.Server, []string{"app.example.org"}, "refuse the certificate"},
		"another CA":     {pki.Intermediate, nil, "permits 1 CAs below it, and there would be 2"},
	} {
		names := pki.CommonName("app")
		names.DNSNames = c.dns
		template := pki.Template{Profile: c.profile, Names: names, PublicKey: leafKey.Public(), Serial: big.NewInt(5), NotBefore: notBefore, NotAfter: notAfter}
		if err := template.Check(issuer); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// A new certificate has no subject that RFC 5280 forbids, or that people cannot
// tell from another one. A request may repeat the one of an old certificate.
func TestSubjects(t *testing.T) {
	attribute := func(value any, id ...int) []byte {
		der, err := asn1.Marshal(pkix.RDNSequence{{{Type: id, Value: value}}})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	str := func(tag int, text string) asn1.RawValue { return asn1.RawValue{Tag: tag, Bytes: []byte(text)} }
	empty, err := asn1.Marshal(pkix.RDNSequence{{}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		subject []byte
		want    string // "": accepted
	}{
		"text":                       {attribute("app 1", 2, 5, 4, 3), ""},
		"UTF-8":                      {attribute("Zürich 東京", 2, 5, 4, 3), ""},
		"email address":              {attribute(str(asn1.TagIA5String, "a@example.com"), 1, 2, 840, 113549, 1, 9, 1), ""},
		"country":                    {attribute("DE", 2, 5, 4, 6), ""},
		"empty":                      {attribute("", 2, 5, 4, 3), "is empty"},
		"no attribute":               {empty, "without attributes"},
		"T61":                        {attribute(str(asn1.TagT61String, "app"), 2, 5, 4, 3), "PrintableString or a UTF8String"},
		"BMP":                        {attribute(str(asn1.TagBMPString, "\x00a"), 2, 5, 4, 3), "PrintableString or a UTF8String"},
		"IA5":                        {attribute(str(asn1.TagIA5String, "app"), 2, 5, 4, 3), "PrintableString or a UTF8String"},
		"number":                     {attribute(7, 2, 5, 4, 3), "PrintableString or a UTF8String"},
		"no-break space":             {attribute("app\u00a0", 2, 5, 4, 3), "invisible"},
		"line separator":             {attribute("app\u2028x", 2, 5, 4, 3), "invisible"},
		"zero-width space":           {attribute("ap\u200bp", 2, 5, 4, 3), "invisible"},
		"Hangul filler":              {attribute("app\u3164", 2, 5, 4, 3), "invisible"},
		"variation selector":         {attribute("app\ufe0f", 2, 5, 4, 3), "invisible"},
		"space at the end":           {attribute("app ", 2, 5, 4, 3), "a space"},
		"country that is no code":    {attribute("Germany", 2, 5, 4, 6), "two letters"},
		"digits as a country":        {attribute("1D", 2, 5, 4, 6), "two letters"},
		"common name of 65 letters":  {attribute(strings.Repeat("é", 65), 2, 5, 4, 3), "longer than 64"},
		"unknown type of 2000 bytes": {attribute(strings.Repeat("x", 2000), 1, 2, 3), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			err := pki.Names{Subject: c.subject}.Check()
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
	old := pki.Names{Subject: attribute(str(asn1.TagT61String, "app"), 2, 5, 4, 3)}
	if _, err := pki.NewRequest(rand.Reader, signer.FromKey(signertest.Key(t, "p256")), old); err != nil {
		t.Errorf("a request with the subject of an old certificate: %v", err)
	}
}
