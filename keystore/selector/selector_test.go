package selector_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/selector"
	"github.com/holdfast-dev/holdfast/signer"
)

var (
	oidCN    = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidO     = asn1.ObjectIdentifier{2, 5, 4, 10}
	oidOU    = asn1.ObjectIdentifier{2, 5, 4, 11}
	oidC     = asn1.ObjectIdentifier{2, 5, 4, 6}
	oidST    = asn1.ObjectIdentifier{2, 5, 4, 8}
	oidDC    = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}
	oidUID   = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}
	oidEmail = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}
	oidOwn   = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 1466, 0}
)

type set = pkix.RelativeDistinguishedNameSET

func av(oid asn1.ObjectIdentifier, value any) pkix.AttributeTypeAndValue {
	return pkix.AttributeTypeAndValue{Type: oid, Value: value}
}

// dn encodes a name in the order of a certificate, the reverse of RFC 4514.
func dn(t *testing.T, sets ...set) []byte {
	t.Helper()
	der, err := asn1.Marshal(pkix.RDNSequence(sets))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// cert returns a certificate that has only the fields that a Selector checks.
func cert(subject []byte, mutate func(*x509.Certificate)) *x509.Certificate {
	c := &x509.Certificate{
		RawSubject: subject, RawIssuer: subject, SerialNumber: big.NewInt(1),
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour),
	}
	if mutate != nil {
		mutate(c)
	}
	c.Raw = fmt.Appendf(nil, "%x %x %x %v %v", c.RawSubject, c.RawIssuer, c.SerialNumber, c.NotBefore, c.NotAfter)
	return c
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestMatches(t *testing.T) {
	bmp := asn1.RawValue{Tag: asn1.TagBMPString, Bytes: []byte{0, 'a', 0, 'p', 0, 'p', 0x20, 0xac}}
	latin1 := asn1.RawValue{Tag: asn1.TagT61String, Bytes: []byte("M\xfcller")}
	ia5 := asn1.RawValue{Tag: asn1.TagIA5String, Bytes: []byte("app@example.com")}
	names := map[string][]byte{
		"app":      dn(t, set{av(oidCN, "app")}),
		"three":    dn(t, set{av(oidC, "DE")}, set{av(oidO, "Example, Inc.")}, set{av(oidCN, "app")}),
		"quotes":   dn(t, set{av(oidCN, `Before and "After" \ <x> ; # + =`)}),
		"blank":    dn(t, set{av(oidCN, " lead and trail ")}),
		"hash":     dn(t, set{av(oidCN, "#4 app")}),
		"line":     dn(t, set{av(oidCN, "Before\rAfter")}),
		"utf8":     dn(t, set{av(oidCN, "Lučić 日本")}),
		"bmp":      dn(t, set{av(oidCN, bmp)}),
		"latin1":   dn(t, set{av(oidCN, latin1)}),
		"email":    dn(t, set{av(oidCN, "app")}, set{av(oidEmail, ia5)}),
		"multi":    dn(t, set{av(oidO, "Example")}, set{av(oidCN, "app"), av(oidUID, "17")}),
		"twoOUs":   dn(t, set{av(oidO, "Example")}, set{av(oidOU, "a")}, set{av(oidOU, "b")}, set{av(oidCN, "app")}),
		"domain":   dn(t, set{av(oidDC, "net")}, set{av(oidDC, "example")}, set{av(oidCN, "app")}),
		"own":      dn(t, set{av(oidOwn, "text")}, set{av(oidCN, "app")}),
		"octets":   dn(t, set{av(oidOwn, []byte("Hi"))}),
		"state":    dn(t, set{av(oidST, "Hessen")}),
		"empty":    dn(t),
		"emptyCN":  dn(t, set{av(oidCN, "")}, set{av(oidO, "Example")}),
		"grabbit":  dn(t, set{av(oidC, "GB")}, set{av(oidO, "Sue, Grabbit and Runn")}, set{av(oidCN, "L. Eagle")}),
		"aws":      dn(t, set{av(oidO, "O With Spaces")}, set{av(oidCN, "CN With Trailing Spaces")}),
		"widgets":  dn(t, set{av(oidC, "US")}, set{av(oidO, "Widget Inc.")}, set{av(oidOU, "Sales"), av(oidCN, "J. Smith")}),
		"lowercol": dn(t, set{av(oidCN, "straße  7")}),
	}
	for _, test := range []struct {
		selector, name string
		want           bool
	}{
		{"subject=CN=app", "app", true},
		{"subject=cn=app", "app", true},
		{"subject=Cn = app ", "app", true},
		{"subject=2.5.4.3=app", "app", true},
		{"subject=OID.2.5.4.3=app", "app", true},
		{"subject=oid.2.5.4.3=app", "app", true},
		{"subject=commonName=app", "app", true},
		{"subject=CN=APP", "app", true},
		{"subject=CN=app2", "app", false},
		{"subject=CN=ap", "app", false},
		{"subject=O=app", "app", false},
		{"subject=CN=app,O=Example", "app", false},
		{`subject=CN="app"`, "app", true},
		{`subject=CN=\61\70p`, "app", true},
		{"subject=CN=#0C03617070", "app", true},
		{"subject=CN=#1303617070", "app", true}, // another string type, the same text

		{`subject=CN=app,O=Example\, Inc.,C=DE`, "three", true},
		{`subject=CN=app, O="Example, Inc.", C=DE`, "three", true},
		{`subject=CN=app%3BO=Example\2C Inc.%3BC=DE`, "three", true},           // RFC 1779
		{`subject=C=DE,O=Example\, Inc.,CN=app`, "three", true},                // the certificate's order
		{`subject=O=Example\, Inc.,CN=app,C=DE`, "three", false},               // neither order
		{`subject=CN=app,C=DE`, "three", true},                                 // some RDNs
		{`subject=C=DE`, "three", true},                                        //
		{`subject=CN=app,CN=app`, "three", false},                              //
		{`subject=CN=app,O=Example\, Inc.,C=DE,L=x`, "three", false},           //
		{`subject=CN=app,O=Example Inc.,C=DE`, "three", false},                 //
		{`subject=CN=app,O=Example\, Inc.+C=DE`, "three", false},               // two RDNs are not one multi-valued RDN
		{`issuer=CN=app,O=Example\, Inc.,C=DE`, "three", true},                 //
		{`subject=CN=app;issuer=O=Example\, Inc.`, "three", true},              //
		{`subject=CN=app;issuer=O=Example`, "three", false},                    //
		{`subject=O=EXAMPLE\,   INC.`, "three", true},                          // RFC 5280, section 7.1
		{`subject=1.3.6.1.4.1.1466.0=text,CN=app`, "own", true},                // the certificate's order
		{`subject=1.3.6.1.4.1.1466.0=#0C0474657874`, "own", true},              //
		{`subject=1.3.6.1.4.1.1466.0=#04024869`, "octets", true},               // RFC 2253, section 5
		{`subject=1.3.6.1.4.1.1466.0=#04024868`, "octets", false},              //
		{`subject=1.3.6.1.4.1.1466.0=Hi`, "octets", false},                     // an OCTET STRING is not text
		{`subject=CN=\#4 app`, "hash", true},                                   //
		{`subject=CN="#4 app"`, "hash", true},                                  //
		{`subject=CN=Before\0DAfter`, "line", true},                            // RFC 2253, section 5
		{`subject=CN=\ lead and trail\ `, "blank", true},                       //
		{`subject=CN=" lead and trail "`, "blank", true},                       //
		{`subject=CN=Lu\C4\8Di\C4\87 日本`, "utf8", true},                        // RFC 2253, section 5
		{`subject=CN=Lučić 日本`, "utf8", true},                                  //
		{`subject=CN=lUČIĆ 日本`, "utf8", true},                                  //
		{`subject=CN=Lucic 日本`, "utf8", false},                                 //
		{`subject=CN=app€`, "bmp", true},                                       //
		{`subject=CN=Müller`, "latin1", true},                                  //
		{`subject=E=app@example.com`, "email", true},                           //
		{`subject=emailAddress=APP@example.com,CN=app`, "email", true},         //
		{`subject=CN=app+UID=17,O=Example`, "multi", true},                     //
		{`subject=UID=17 + CN=app,O=Example`, "multi", true},                   //
		{`subject=CN=app,O=Example`, "multi", false},                           // a multi-valued RDN must match completely
		{`subject=CN=app,UID=17`, "multi", false},                              //
		{`subject=CN=app+UID=17`, "multi", true},                               //
		{`subject=OU=Sales+CN=J. Smith,O=Widget Inc.,C=US`, "widgets", true},   // RFC 2253, section 5
		{`subject=OU=b,OU=a`, "twoOUs", true},                                  //
		{`subject=OU=a,OU=b`, "twoOUs", true},                                  // the certificate's order
		{`subject=CN=app,OU=a,OU=b`, "twoOUs", false},                          // a mix of both orders
		{`subject=CN=app,DC=example,DC=net`, "domain", true},                   //
		{`subject=CN=app,DC=net,DC=example`, "domain", false},                  //
		{`subject=CN=L. Eagle,O=Sue\, Grabbit and Runn,C=GB`, "grabbit", true}, // RFC 2253, section 5
		{`subject=CN=L. Eagle,O="Sue, Grabbit and Runn",C=GB`, "grabbit", true},
		{`subject=CN=CN With Trailing Spaces  ,O=O With Spaces`, "aws", true},
		{`subject=S=Hessen`, "state", true},
		{`subject=ST=hessen`, "state", true},
		{`subject=CN=app`, "empty", false},
		{`serial=1`, "empty", true},
		{`subject=CN=,O=Example`, "emptyCN", true},
		{`subject=O=Example,CN=`, "emptyCN", true},
		{`subject=CN=STRASSE 7`, "lowercol", false}, // ß is not folded to ss
		{`subject=CN=Straße 7`, "lowercol", true},
		{`subject=CN=Before and \"After\" \\ \<x\> \%3B # \+ =`, "quotes", true},
		{`subject=CN="Before and \"After\" \\ <x> %3B # + ="`, "quotes", true},
	} {
		s, _, err := selector.Parse(test.selector)
		if err != nil {
			if test.want {
				t.Errorf("%s: %v", test.selector, err)
			}
			continue
		}
		i, err := s.Select([]selector.Candidate{{Certificate: cert(names[test.name], nil)}}, noon)
		if (err == nil) != test.want || err != nil && !errors.Is(err, signer.ErrNotFound) {
			t.Errorf("%s, certificate %s: %d, error %v, want a match: %t", test.selector, test.name, i, err, test.want)
		}
	}
}

func TestSerialAndThumbprint(t *testing.T) {
	serial, _ := new(big.Int).SetString("15D19632234BF759A32802C0DA88F9E8AFC8702D", 16)
	big9, _ := new(big.Int).SetString("9f00aa", 16)
	name := dn(t, set{av(oidCN, "app")})
	plain := cert(name, func(c *x509.Certificate) { c.SerialNumber = serial })
	high := cert(name, func(c *x509.Certificate) { c.SerialNumber = big9 })
	sum1, sum256 := sha1.Sum(plain.Raw), sha256.Sum256(plain.Raw)
	x1, x256 := hex.EncodeToString(sum1[:]), hex.EncodeToString(sum256[:])
	colons := func(s string) string {
		var pairs []string
		for ; s != ""; s = s[2:] {
			pairs = append(pairs, s[:2])
		}
		return strings.Join(pairs, ":")
	}
	for _, test := range []struct {
		selector string
		cert     *x509.Certificate
		want     bool
	}{
		{"serial=15D19632234BF759A32802C0DA88F9E8AFC8702D", plain, true},
		{"serial=15d19632234bf759a32802c0da88f9e8afc8702d", plain, true},
		{"serial=0x15d19632234bf759a32802c0da88f9e8afc8702d", plain, true},
		{"serial=0X0015D19632234BF759A32802C0DA88F9E8AFC8702D", plain, true},
		{"serial=" + colons("15D19632234BF759A32802C0DA88F9E8AFC8702D"), plain, true},
		{"serial=15-d1 96 32 23 4b f7 59 a3 28 02 c0 da 88 f9 e8 af c8 70 2d", plain, true},
		{"serial=15D19632234BF759A32802C0DA88F9E8AFC8702E", plain, false},
		{"serial=" + serial.String(), plain, false}, // decimal
		{"serial=9f00aa", high, true},
		{"serial=009F00AA", high, true}, // as in DER
		{"serial=00:9f:00:aa", high, true},
		{"serial=9f00a", high, false},
		{"serial=0", high, false},
		{"sha256=" + x256, plain, true},
		{"sha256=" + strings.ToUpper(x256), plain, true},
		{"sha256=" + colons(x256), plain, true},
		{"sha256=" + x256, high, false},
		{"sha1=" + x1, plain, true},
		{"sha1=\u200e" + x1, plain, true}, // as copied from the Windows dialog
		{"sha1=" + x1, high, false},
		{"sha1=" + x1 + ";sha256=" + x256 + ";subject=CN=app", plain, true},
		{"sha1=" + x1 + ";subject=CN=other", plain, false},
	} {
		s, _, err := selector.Parse(test.selector)
		if err != nil {
			t.Errorf("%s: %v", test.selector, err)
			continue
		}
		if _, err := s.Select([]selector.Candidate{{Certificate: test.cert}}, noon); (err == nil) != test.want {
			t.Errorf("%s: error %v, want a match: %t", test.selector, err, test.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"subject", "subject=", "=app", ";", "subject=CN=app;", "Subject=CN=app", "label=x", "subject=CN=a;subject=CN=b",
		"subject=CN", "subject=app", "subject=%20", "subject=CN=a,", "subject=,CN=a", "subject=CN=a,,O=b", "subject=CN=a+", "subject=CN=a+b",
		"subject=XX=a", "subject==a", "subject=2.=a", "subject=2=a", "subject=2.05=a", "subject=2..5=a", "subject=.2.5=a",
		`subject=CN="a`, `subject=CN="a"b`, `subject=CN=a"b`, `subject=CN=a<b`, `subject=CN=a\`, `subject=CN=a\zb`, `subject=CN=a\C3`, `subject=CN=\C3\28`,
		"subject=CN=#", "subject=CN=#zz", "subject=CN=#1", "subject=CN=#0c05", "subject=CN=#0c01610c0161",
		"subject=CN=a;b", "subject=CN=a%", "subject=CN=a%zz", "subject=CN=a%00", "subject=CN=%ff", "subject=/C=DE/CN=app",
		"serial=", "serial=x", "serial=0x", "serial=12g", "serial=-", "serial=" + strings.Repeat("1", 129),
		"sha256=ab", "sha256=" + strings.Repeat("a", 40), "sha1=" + strings.Repeat("a", 64), "sha1=" + strings.Repeat("g", 40),
		"newest=1", "newest=", "subject=CN=" + strings.Repeat("a", 64<<10),
	} {
		if s, _, err := selector.Parse(text); err == nil {
			t.Errorf("%.80s: parsed to %v", text, s)
		}
	}
}

func TestParseOwnAttributes(t *testing.T) {
	s, own, err := selector.Parse("store=A%3BB%25;subject=CN=app;label=ü x", "store", "label")
	if err != nil || own["store"] != "A;B%" || own["label"] != "ü x" || len(own) != 2 || s.Subject.String() != "CN=app" {
		t.Errorf("%v, %q, error %v", s, own, err)
	}
	if _, own, err = selector.Parse("", "store"); err != nil || len(own) != 0 {
		t.Errorf("empty: %q, error %v", own, err)
	}
	for _, value := range []string{"A;B%", "%3B", "x\ty", "C:\\ü=x", "plain"} {
		_, own, err := selector.Parse(keystore.FormatAttribute("store", value), "store")
		if err != nil || own["store"] != value {
			t.Errorf("%q parses to %q, error %v", value, own["store"], err)
		}
	}
}

func TestParseSigningHelper(t *testing.T) {
	const serial = "15d19632234bf759a32802c0da88f9e8afc8702d"
	for _, test := range []struct{ text, want string }{ // first the examples and test cases of aws_signing_helper
		{"Key=x509Subject,Value=CN=Subject Key=x509Issuer,Value=CN=Issuer Key=x509Serial,Value=15D19632234BF759A32802C0DA88F9E8AFC8702D",
			"subject=CN=Subject;issuer=CN=Issuer;serial=" + serial},
		{"Key=x509Issuer,Value=CN=Issuer", "issuer=CN=Issuer"},
		{"Key=x509Subject,Value=CN=CN With Spaces Key=x509Issuer,Value=CN=CN With Spaces,OU=OU With Spaces",
			"subject=CN=CN With Spaces;issuer=CN=CN With Spaces,OU=OU With Spaces"},
		{" \n  Key=x509Subject,Value=CN=CN With Trailing Spaces  ,O=O With Spaces   \t   Key=x509Issuer,Value=CN=Issuer  \n",
			"subject=CN=CN With Trailing Spaces,O=O With Spaces;issuer=CN=Issuer"},
		{`[{"Key": "x509Subject", "Value": "CN=Subject"}, {"Key": "x509Issuer", "Value": "CN=Issuer"}, {"Key": "x509Serial", "Value": "15D19632234BF759A32802C0DA88F9E8AFC8702D"}]`,
			"subject=CN=Subject;issuer=CN=Issuer;serial=" + serial},
		{"\ufeff [ {\"Key\":\"x509Serial\",\"Value\":\"00:01\"} ]\r\n", "serial=1"},
		{`[{"Key":"x509Subject","Value":"CN=Luc\u0161,O=a\\, b"}]`, `subject=CN=Lucš,O=a\, b`},
		{"Key=x509Serial,Value=0x0A Key=x509Subject,Value=CN=a", "subject=CN=a;serial=a"},
		{"Key=x509Serial,Value=0A\t", "serial=a"},
		{"Key=x509Subject,Value=CN=a\\ ", `subject=CN=a\ `},
		{"Key=x509Subject,Value=CN=Key=b", "subject=CN=Key=b"},
		{"Key=x509Subject,Value=CN=the Key=b", "subject=CN=the Key=b"},
		{`Key=x509Subject,Value=CN="Sue, Grabbit and Runn"`, `subject=CN=Sue\, Grabbit and Runn`},
	} {
		s, err := selector.ParseSigningHelper(test.text)
		if err != nil || s.String() != test.want {
			t.Errorf("%q: %s, error %v; want %s", test.text, s, err, test.want)
		}
	}
	for _, text := range []string{
		"", " ", "laksdjadf", "Key=laksdjf,Valalsd", "Key=aljsdf,Value=aljsdfadsf", "Key=x509subject,Value=CN=a",
		"Key=x509Subject,Value=CN=Subject Key=x509Issuer,Value=CN=Issuer Key=x509Serial,Value=15D1 Key=x509Subject,Value=CN=Subject2",
		"asdf Key=x509Subject,Value=CN=Test", "Key=x509Subject,Value=Test", "Key=x509Subject,Value=", "Key=x509Serial,Value=CN=a",
		"Key=x509Subject,Value=CN=a Key=other,Value=b",
		"[]", "[", "{}", `{"Key":"x509Subject","Value":"CN=a"}`, `[{"Key":"x509Subject","Value":1}]`, `[{"Key":"x509Subject"}]`,
		`[{"Key":"x509Subject","Value":"CN=a"}] x`, `[{"Key":"x509Subject","Value":"CN=a","More":1}]`, `[{"Key":"x","Value":"CN=a"}]`,
		`[{"Key":"x509Subject","Value":"CN=a"},{"Key":"x509Subject","Value":"CN=b"}]`, `[null]`,
		strings.Repeat(" ", 1<<20), "Key=x509Subject,Value=CN=" + strings.Repeat("a", 70<<10), strings.Repeat("[", 100_000),
	} {
		if s, err := selector.ParseSigningHelper(text); err == nil {
			t.Errorf("%.80q: parsed to %s", text, s)
		}
	}
}

// candidates returns a Candidate with the reference ref:N for each certificate.
func candidates(certs ...*x509.Certificate) (all []selector.Candidate) {
	for i, c := range certs {
		all = append(all, selector.Candidate{Ref: keystore.Ref{Scheme: "ref", Rest: fmt.Sprint(i)}, Certificate: c})
	}
	return all
}

func until(d time.Duration) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotAfter = noon.Add(d) }
}

func TestSelect(t *testing.T) {
	app := dn(t, set{av(oidCN, "app")})
	more := dn(t, set{av(oidO, "Example")}, set{av(oidCN, "app")})
	broken := errors.New("no private key")
	old, mid, late := cert(app, until(-time.Minute)), cert(app, until(time.Hour)), cert(app, until(9*time.Hour))
	future := cert(app, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = noon.Add(time.Hour), noon.Add(99*time.Hour) })
	twin := cert(app, func(c *x509.Certificate) { c.NotAfter, c.SerialNumber = late.NotAfter, big.NewInt(7) })
	younger := cert(app, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = noon, late.NotAfter })
	other := cert(more, nil)
	unusable := candidates(mid)[0]
	unusable.Err = broken
	for _, test := range []struct {
		name, selector string
		candidates     []selector.Candidate
		want           int
		err            error
	}{
		{"one", "", candidates(mid), 0, nil},
		{"no candidates", "", nil, -1, signer.ErrNotFound},
		{"one of two", "subject=O=Example", candidates(mid, other), 1, nil},
		{"two", "", candidates(mid, other), -1, signer.ErrAmbiguous},
		{"old and new", "subject=CN=app", candidates(old, mid, late), -1, signer.ErrAmbiguous},
		{"newest", "subject=CN=app;newest=yes", candidates(mid, late, old), 1, nil},
		{"not newest", "subject=CN=app;newest=no", candidates(mid, late, old), -1, signer.ErrAmbiguous},
		{"newest valid certificate", "newest=yes", candidates(old, mid, future), 1, nil},
		{"newest, but only an expired certificate", "newest=yes", candidates(old), -1, signer.ErrNotFound},
		{"newest, but only a future certificate", "newest=yes", candidates(future), -1, signer.ErrNotFound},
		{"newest of certificates with the same dates", "newest=yes", candidates(late, twin), -1, signer.ErrAmbiguous},
		{"newest by its NotBefore", "newest=yes", candidates(late, younger, twin), 1, nil},
		{"only an expired certificate", "", candidates(old), 0, nil},
		{"the same certificate twice", "", candidates(mid, mid), 0, nil},
		{"whole name preferred to part", "subject=CN=app", candidates(other, mid), 1, nil},
		{"part of a name", "subject=CN=app", candidates(other), 0, nil},
		{"whole issuer preferred to part", "issuer=CN=app", candidates(other, mid), 1, nil},
		{"unreadable neighbour", "", append(candidates(nil), candidates(mid)...), 1, nil},
		{"unusable only", "", []selector.Candidate{unusable}, -1, broken},
		{"unusable and usable", "", append([]selector.Candidate{unusable}, candidates(late)...), 1, nil},
		{"the same certificate, unusable first", "", append([]selector.Candidate{unusable}, candidates(mid)...), 1, nil},
		{"unusable does not match", "subject=O=Example", append([]selector.Candidate{unusable}, candidates(other)...), 1, nil},
		{"two unusable", "", []selector.Candidate{unusable, {Certificate: late, Err: broken}}, -1, signer.ErrNotFound},
	} {
		s, _, err := selector.Parse(test.selector)
		if err != nil {
			t.Fatal(err)
		}
		i, err := s.Select(test.candidates, noon)
		if i != test.want || !errors.Is(err, test.err) {
			t.Errorf("%s: %d, error %v; want %d, %v", test.name, i, err, test.want, test.err)
		}
		if (errors.Is(err, signer.ErrNotFound) || errors.Is(err, signer.ErrAmbiguous)) && signer.Hint(err) == "" {
			t.Errorf("%s: error %v has no hint", test.name, err)
		}
	}
}

func TestSelectHintListsCandidates(t *testing.T) {
	app, db := dn(t, set{av(oidCN, "app")}), dn(t, set{av(oidCN, "db\nx")})
	all := candidates(cert(app, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(0xabc) }), cert(db, nil), nil)
	s, _, err := selector.Parse("subject=CN=app;serial=abd")
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Select(all, noon)
	hint := signer.Hint(err)
	for _, want := range []string{"ref:0", "abc", "ref:1", "ref:2"} {
		if !strings.Contains(hint, want) {
			t.Errorf("hint %q does not contain %q", hint, want)
		}
	}
	if strings.Contains(hint+err.Error(), "\n") {
		t.Errorf("error %v with hint %s contains a line break", err, hint)
	}
	for range 1000 {
		all = append(all, all[0])
	}
	if _, err = s.Select(all, noon); len(signer.Hint(err)) > 2000 || !strings.Contains(signer.Hint(err), "995 more") {
		t.Errorf("hint of %d bytes: %s", len(signer.Hint(err)), signer.Hint(err))
	}

	_, err = selector.Selector{}.Select(candidates(cert(app, nil), cert(db, nil)), noon)
	for _, want := range []string{"ref:0", "ref:1"} {
		if !strings.Contains(signer.Hint(err), want) {
			t.Errorf("hint %q does not contain %q", signer.Hint(err), want)
		}
	}
}

func TestForPrintsInRFC4514Order(t *testing.T) {
	c := cert(dn(t, set{av(oidC, "DE")}, set{av(oidO, "Example, Inc.")}, set{av(oidCN, "app"), av(oidUID, "17")}), nil)
	if got, want := selector.For(c).Subject.String(), `CN=app+UID=17,O=Example\, Inc.,C=DE`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// The printed Selector of a certificate selects this certificate.
func TestFor(t *testing.T) {
	for _, text := range []string{"app", ` "a", <b>; \ + = # `, "#x", "100 % ;", "Lučić", "a\x01\nb", "日本", " ", ""} {
		c := cert(dn(t, set{av(oidO, text), av(oidOwn, []byte(text))}, set{av(oidCN, text)}), nil)
		printed := selector.For(c).String()
		s, _, err := selector.Parse(printed)
		if err != nil {
			t.Errorf("%q: %s: %v", text, printed, err)
			continue
		}
		if s.String() != printed {
			t.Errorf("%s parses to %s", printed, s)
		}
		near := cert(dn(t, set{av(oidO, text), av(oidOwn, []byte(text))}, set{av(oidCN, text)}, set{av(oidC, "DE")}), nil)
		s.SHA256 = nil
		if i, err := s.Select(candidates(near, c), noon); i != 1 {
			t.Errorf("%s: %d, error %v", printed, i, err)
		}
	}
}

func FuzzParseDN(f *testing.F) {
	for _, seed := range []string{
		"CN=app", `CN=L. Eagle,O="Sue, Grabbit and Runn",C=GB`, `OU=Sales+CN=J.  Smith,O=Widget Inc.,C=US`,
		`CN=Lu\C4\8Di\C4\87`, "1.3.6.1.4.1.1466.0=#04024869,O=Test,C=GB", `CN=\ a\ `, "DC=net;DC=example", `CN="\""`, "CN=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := selector.ParseDN(text)
		if err != nil {
			return
		}
		again, err := selector.ParseDN(d.String())
		if err != nil || again.String() != d.String() {
			t.Fatalf("%q prints as %q, which prints as %q, error %v", text, d, again, err)
		}
		s := selector.Selector{Subject: d}
		parsed, _, err := selector.Parse(s.String())
		if err != nil || parsed.Subject.String() != d.String() {
			t.Fatalf("%q: selector %q has the subject %q, error %v", text, s, parsed, err)
		}
	})
}

func FuzzParseSigningHelper(f *testing.F) {
	f.Add("Key=x509Subject,Value=CN=Subject Key=x509Issuer,Value=CN=Issuer Key=x509Serial,Value=15D1")
	f.Add(`[{"Key": "x509Subject", "Value": "CN=Subject"}]`)
	f.Add("Key=x509Subject,Value=CN=CN With Spaces  ,O=O \t Key=x509Issuer,Value=CN=Issuer\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := selector.ParseSigningHelper(text)
		if err != nil {
			return
		}
		again, own, err := selector.Parse(s.String())
		if err != nil || len(own) != 0 || again.String() != s.String() || !bytes.Equal(again.SHA1, s.SHA1) {
			t.Fatalf("%q: selector %q parses to %q, error %v", text, s, again, err)
		}
		if slices.Contains([]string{"", "newest=yes"}, s.String()) {
			t.Fatalf("%q selects any certificate", text)
		}
	})
}
