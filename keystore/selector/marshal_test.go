package selector

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
)

func TestMarshal(t *testing.T) {
	for text, want := range map[string]string{ // in the form of crypto/x509
		"CN=app":                                 "CN=app",
		"cn=app, o=Example":                      "CN=app,O=Example",
		"OU=x+CN=a\\,b,C=DE":                     "OU=x+CN=a\\,b,C=DE",
		"CN=Zürich 東京":                           "CN=Zürich 東京",
		"DC=example,DC=com":                      "0.9.2342.19200300.100.1.25=#13076578616d706c65,0.9.2342.19200300.100.1.25=#1303636f6d",
		"CN=#0c03617070,2.5.4.15=private\\20key": "CN=app,2.5.4.15=#130b70726976617465206b6579",
	} {
		d, err := ParseDN(text)
		if err != nil {
			t.Fatal(err)
		}
		der, err := d.Marshal()
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var name pkix.RDNSequence
		if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
			t.Errorf("%s: %x: %v", text, der, err)
		}
		if !strings.Contains(text, "DC=") && name.String() != want {
			t.Errorf("%s: %s, want %s", text, name, want)
		}
		if again, err := parseName(der); err != nil || !isSubsequence(d.rdns, again.rdns) || len(d.rdns) != len(again.rdns) {
			t.Errorf("%s becomes %s, %v", text, again, err)
		}
	}
	for text, want := range map[string]string{
		"DC=zürich":                "not ASCII",
		"3.1=x":                    "not an object identifier",
		"1.40=x":                   "not an object identifier",
		"1.99999999999999999999=x": "too large",
	} {
		d, err := ParseDN(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if der, err := d.Marshal(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %x, %v; want %q", text, der, err, want)
		}
	}
}
