package emulator

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"testing"
)

// nameConstraints returns a critical extension with constraints on directory
// names (RFC 5280, section 4.2.1.10).
func nameConstraints(t *testing.T, permitted, excluded []pkix.Name) pkix.Extension {
	t.Helper()
	subtrees := func(names []pkix.Name) (trees []asn1.RawValue) {
		for _, n := range names {
			der, err := asn1.Marshal(n.ToRDNSequence())
			if err != nil {
				t.Fatal(err)
			}
			base := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: der}
			der, err = asn1.Marshal([]asn1.RawValue{base})
			if err != nil {
				t.Fatal(err)
			}
			trees = append(trees, asn1.RawValue{FullBytes: der})
		}
		return trees
	}
	value, err := asn1.Marshal(struct {
		Permitted []asn1.RawValue `asn1:"optional,omitempty,tag:0"`
		Excluded  []asn1.RawValue `asn1:"optional,omitempty,tag:1"`
	}{subtrees(permitted), subtrees(excluded)})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 30}, Critical: true, Value: value}
}

// verdict is the verdict on a chain below ca, leaf first.
func verdict(t *testing.T, ca certKey, chain ...*x509.Certificate) error {
	t.Helper()
	a := &anchor{Certificates: string(ca.pem())}
	err := a.parse()
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.verify(chain[0], chain[1:], nil, testNow)
	return err
}

func wantVerdict(t *testing.T, name string, err error, accepted bool) {
	t.Helper()
	var refused *refusal
	if accepted && err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if !accepted && (!errors.As(err, &refused) || refused.message != msgUntrusted) {
		t.Errorf("%s: error %v, want %q", name, err, msgUntrusted)
	}
}

func TestDirectoryNameConstraints(t *testing.T) {
	root := newRoot(t, caTemplate("Root"))
	org := pkix.Name{Country: []string{"DE"}, Organization: []string{"Example GmbH"}}
	subject := pkix.Name{Country: []string{"DE"}, Organization: []string{"Example GmbH"}, CommonName: "client"}
	other := pkix.Name{Organization: []string{"Other"}}
	for _, tt := range []struct {
		name                string
		permitted, excluded []pkix.Name
		subject             pkix.Name
		accepted            bool
	}{
		{"in the permitted subtree", []pkix.Name{org}, nil, subject, true},
		{"the permitted name itself", []pkix.Name{subject}, nil, subject, true},
		{"in one of two permitted subtrees", []pkix.Name{other, org}, nil, subject, true},
		{"other case and spaces", []pkix.Name{{Country: []string{"de"}, Organization: []string{" example  GMBH"}}}, nil, subject, true},
		{"another string type", []pkix.Name{{Organization: []string{"M\u00fcller"}}}, nil, pkix.Name{Organization: []string{"m\u00dcller"}, CommonName: "x"}, true},
		{"outside of the permitted subtree", []pkix.Name{other}, nil, subject, false},
		{"above the permitted subtree", []pkix.Name{subject}, nil, org, false},
		{"a longer value", []pkix.Name{{Country: []string{"DE"}, Organization: []string{"Example"}}}, nil, subject, false},
		{"excluded", nil, []pkix.Name{org}, subject, false},
		{"another name is excluded", nil, []pkix.Name{other}, subject, true},
		{"permitted, but excluded below", []pkix.Name{org}, []pkix.Name{subject}, subject, false},
		{"the empty name permits all", []pkix.Name{{}}, nil, subject, true},
		{"the empty name excludes all", nil, []pkix.Name{{}}, subject, false},
	} {
		template := caTemplate("Intermediate")
		template.ExtraExtensions = []pkix.Extension{nameConstraints(t, tt.permitted, tt.excluded)}
		i := root.issue(t, template)
		leaf := leafTemplate("client")
		leaf.Subject = tt.subject
		client := i.issue(t, leaf)
		wantVerdict(t, tt.name, verdict(t, root, client.cert, i.cert), tt.accepted)

		// Another path without constraints is enough.
		free := root.certify(t, caTemplate("Intermediate"), i.key.Public())
		wantVerdict(t, tt.name+", beside another path", verdict(t, root, client.cert, i.cert, free), true)

		// The constraints of a trust anchor and of a CA above apply too.
		constrained := newRoot(t, template)
		wantVerdict(t, tt.name+", in the trust anchor", verdict(t, constrained, constrained.issue(t, leaf).cert), tt.accepted)
		below := caTemplate("Below")
		below.Subject = tt.subject
		lower := i.issue(t, below)
		wantVerdict(t, tt.name+", of a CA", verdict(t, root, lower.issue(t, leaf).cert, lower.cert, i.cert), tt.accepted)
	}
}

// A directory name can also be a subject alternative name.
func TestDirectoryNameConstraintsOnAlternativeNames(t *testing.T) {
	root := newRoot(t, caTemplate("Root"))
	template := caTemplate("Intermediate")
	template.ExtraExtensions = []pkix.Extension{nameConstraints(t, []pkix.Name{{Organization: []string{"Example"}}}, nil)}
	i := root.issue(t, template)
	for organization, accepted := range map[string]bool{"Example": true, "Other": false} {
		der, err := asn1.Marshal(pkix.Name{Organization: []string{organization}}.ToRDNSequence())
		if err != nil {
			t.Fatal(err)
		}
		san, err := asn1.Marshal([]asn1.RawValue{
			{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("client.example")},
			{Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: der},
		})
		if err != nil {
			t.Fatal(err)
		}
		leaf := leafTemplate("client")
		leaf.Subject = pkix.Name{Organization: []string{"Example"}, CommonName: "client"}
		leaf.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}}
		wantVerdict(t, organization, verdict(t, root, i.issue(t, leaf).cert, i.cert), accepted)
	}
}

// Critical constraints of unknown types of name are refused.
func TestUnknownNameConstraints(t *testing.T) {
	root := newRoot(t, caTemplate("Root"))
	for name, base := range map[string]asn1.RawValue{
		"registered ID": {Class: asn1.ClassContextSpecific, Tag: 8, Bytes: []byte{0x2a, 3}},
		"other name":    {Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: []byte{6, 2, 0x2a, 3, 0xa0, 2, 5, 0}},
		"X.400 address": {Class: asn1.ClassContextSpecific, Tag: 3, IsCompound: true},
		"damaged name":  {Class: asn1.ClassContextSpecific, Tag: 4, IsCompound: true, Bytes: []byte{0x30, 2, 5, 0}},
	} {
		value, err := asn1.Marshal(struct {
			Permitted []struct{ Base asn1.RawValue } `asn1:"tag:0"`
		}{[]struct{ Base asn1.RawValue }{{base}}})
		if err != nil {
			t.Fatal(err)
		}
		template := caTemplate("Intermediate")
		template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 30}, Critical: true, Value: value}}
		der, err := x509.CreateCertificate(rand.Reader, template, root.cert, root.key.Public(), root.key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		i := certKey{cert, root.key}
		wantVerdict(t, name, verdict(t, root, i.issue(t, leafTemplate("client")).cert, i.cert), false)
	}
}

// A self-issued certificate, such as that of a CA that changes its key, does not
// count as an intermediate certificate (RFC 5280, section 6.1.4 (l)).
func TestPathLengthOfSelfIssued(t *testing.T) {
	template := caTemplate("Root")
	template.MaxPathLen = 1
	root := newRoot(t, template)
	old := root.issue(t, func() *x509.Certificate {
		c := caTemplate("CA")
		c.MaxPathLenZero = true
		return c
	}())
	renewed := old.issue(t, caTemplate("CA"))
	again := renewed.issue(t, caTemplate("CA"))
	wantVerdict(t, "the CA", verdict(t, root, old.issue(t, leafTemplate("client")).cert, old.cert), true)
	wantVerdict(t, "the CA's new key", verdict(t, root, renewed.issue(t, leafTemplate("client")).cert, renewed.cert, old.cert), true)
	wantVerdict(t, "the CA's third key", verdict(t, root, again.issue(t, leafTemplate("client")).cert, again.cert, renewed.cert, old.cert), true)

	below := renewed.issue(t, caTemplate("Below"))
	wantVerdict(t, "another CA below", verdict(t, root, below.issue(t, leafTemplate("client")).cert, below.cert, renewed.cert, old.cert), false)
	free := root.issue(t, caTemplate("Free"))
	wantVerdict(t, "one CA below the root", verdict(t, root, free.issue(t, leafTemplate("client")).cert, free.cert), true)
	lower := free.issue(t, caTemplate("Lower"))
	wantVerdict(t, "two CAs below the root", verdict(t, root, lower.issue(t, leafTemplate("client")).cert, lower.cert, free.cert), false)
}
