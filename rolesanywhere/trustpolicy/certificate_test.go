package trustpolicy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// issue returns a certificate of a CA with the name CN=Root,O=Test.
func issue(t *testing.T, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "Root", Organization: []string{"Test"}}}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestSessionTags(t *testing.T) {
	directory, err := asn1.Marshal(pkix.Name{CommonName: "Dir", Country: []string{"DE"}}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	san := func(names ...asn1.RawValue) pkix.Extension {
		b, err := asn1.Marshal(names)
		if err != nil {
			t.Fatal(err)
		}
		return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: b}
	}
	general := func(tag int, compound bool, b []byte) asn1.RawValue {
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: b}
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(0xabc)}
	template.Subject = pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: "Security"},
		{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "alice"},
		{Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: "Engineering"},
		{Type: asn1.ObjectIdentifier{2, 5, 4, 11}, Value: "Research"},
		{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "example"},
		{Type: asn1.ObjectIdentifier{1, 2, 3, 4}, Value: "unknown (not refused)"},
	}}
	template.ExtraExtensions = []pkix.Extension{san(
		asn1.RawValue{Class: asn1.ClassUniversal, Tag: asn1.TagInteger, Bytes: []byte{1}},
		general(1, false, []byte("mail@example.com")),
		general(2, false, []byte("first.example.com")),
		general(2, false, []byte("*.example.com")),
		general(6, false, []byte("spiffe://example.com/a")),
		general(6, false, []byte("spiffe://example.com/b")),
		general(4, true, directory),
		general(7, false, []byte{127, 0, 0, 1}),
	)}
	got, bad := SessionTags(issue(t, template))
	want := map[string]string{
		"x509Subject/CN":  "alice",
		"x509Subject/OU":  "Security/Engineering/Research",
		"x509Subject/DC":  "example",
		"x509Issuer/CN":   "Root",
		"x509Issuer/O":    "Test",
		"x509SAN/DNS":     "first.example.com",
		"x509SAN/URI":     "spiffe://example.com/a",
		"x509SAN/Name/CN": "Dir",
		"x509SAN/Name/C":  "DE",
	}
	if !maps.Equal(got, want) || len(bad) > 0 {
		t.Errorf("tags are %v, unmapped %v\nwant     %v", got, bad, want)
	}
	for name := range want {
		for _, key := range []string{name, strings.ToLower(name)} {
			if _, err := parseKey(KeyPrincipalTag + key); err != nil {
				t.Errorf("policies do not support %s: %v", key, err)
			}
		}
	}

	template.ExtraExtensions = []pkix.Extension{san(general(4, true, []byte{0x30, 0x03, 1, 2, 3}))}
	if _, bad := SessionTags(issue(t, template)); !slices.Equal(bad[SAN], []string{"Name/4"}) {
		t.Errorf("malformed directory name: unmapped attributes are %v", bad)
	}
	plain := &x509.Certificate{SerialNumber: big.NewInt(0xabc)}
	plain.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}}
	if tags, _ := SessionTags(issue(t, plain)); tags["x509SAN/URI"] != "spiffe://x" {
		t.Errorf("URI is %q", tags["x509SAN/URI"])
	}
}

func TestMapping(t *testing.T) {
	dir, err := asn1.Marshal(pkix.Name{CommonName: "dir", Organization: []string{"A & B"}}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	san, err := asn1.Marshal([]asn1.RawValue{
		{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("client.example")},
		{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte("https://client.example")},
		{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: dir},
	})
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		Subject:    pkix.Name{Names: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "client"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "*"}}},
		Extensions: []pkix.Extension{{Id: oidSubjectAltName, Value: san}},
	}
	for _, tt := range []struct {
		mapping   Mapping
		tags, bad string
	}{
		{nil, "", ""},
		{Mapping{Subject: {"CN"}}, "x509Subject/CN", ""},
		{Mapping{Subject: {"OU"}, Issuer: {"CN", "*"}}, "", ""},
		{Mapping{Subject: {"*"}}, "x509Subject/CN", "x509Subject/O"},
		{Mapping{Subject: {"O"}}, "", "x509Subject/O"},
		{Mapping{SAN: {"DNS"}}, "x509SAN/DNS", ""},
		{Mapping{SAN: {"URI", "Name/CN"}}, "x509SAN/Name/CN x509SAN/URI", ""},
		{Mapping{SAN: {"Name/*"}}, "x509SAN/Name/CN", "x509SAN/Name/O"},
		{DefaultMapping(), "x509SAN/DNS x509SAN/Name/CN x509SAN/URI x509Subject/CN", "x509SAN/Name/O x509Subject/O"},
	} {
		tags, bad := tt.mapping.SessionTags(cert)
		var unmapped []string
		for field, names := range bad {
			for _, name := range names {
				unmapped = append(unmapped, field+"/"+name)
			}
		}
		slices.Sort(unmapped)
		if got := strings.Join(slices.Sorted(maps.Keys(tags)), " "); got != tt.tags || strings.Join(unmapped, " ") != tt.bad {
			t.Errorf("%v: tags %s, unmapped %v; want %s, %s", tt.mapping, got, unmapped, tt.tags, tt.bad)
		}
	}
}

func TestIsSpecifier(t *testing.T) {
	for _, tt := range []struct {
		field, specifiers string
		want              bool
	}{
		{Subject, "* CN OU UID EMAILADDRESS", true},
		{Issuer, "* CN", true},
		{SAN, "DNS URI Name/* Name/CN", true},
		{Subject, "cn DNS Name/CN 2.5.4.3 x", false},
		{SAN, "* CN Name Name/ Name/x dns Email IP", false},
		{"Subject", "CN", false},
	} {
		for _, s := range append(strings.Fields(tt.specifiers), "") {
			if got := IsSpecifier(tt.field, s); got != (tt.want && s != "") {
				t.Errorf("%s %q: %v", tt.field, s, got)
			}
		}
	}
}
