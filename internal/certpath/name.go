package certpath

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"
)

// A name is a distinguished name: the canonical form of each RDN.
type name []string

// within reports whether n is in the subtree of base: the RDNs of base are the
// first of n (RFC 5280, section 7.1).
func (n name) within(base name) bool {
	return len(n) >= len(base) && slices.Equal(n[:len(base)], base)
}

var errName = errors.New("has a directory name that cannot be read")

func parseName(der []byte) (name, error) {
	var rdns []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &rdns); err != nil || len(rest) > 0 {
		return nil, errName
	}
	n := make(name, 0, len(rdns))
	for _, rdn := range rdns {
		var attributes []struct {
			Type  asn1.ObjectIdentifier
			Value asn1.RawValue
		}
		if rest, err := asn1.UnmarshalWithParams(rdn.FullBytes, &attributes, "set"); err != nil || len(rest) > 0 || len(attributes) == 0 {
			return nil, errName
		}
		canonical := make([]string, 0, len(attributes))
		for _, a := range attributes {
			canonical = append(canonical, a.Type.String()+"="+canonicalValue(a.Value))
		}
		slices.Sort(canonical) // an RDN is a set
		n = append(n, strings.Join(canonical, "\x00"))
	}
	return n, nil
}

// canonicalValue returns the same text for values that RFC 5280, section 7.1
// considers equal: it ignores case, the type of string, and surplus spaces.
// Values of other types are equal if their encodings are.
func canonicalValue(v asn1.RawValue) string {
	var text string
	switch v.Tag {
	case asn1.TagPrintableString, asn1.TagUTF8String, asn1.TagIA5String, asn1.TagT61String, asn1.TagBMPString:
		if _, err := asn1.Unmarshal(v.FullBytes, &text); err == nil {
			return "text:" + strings.ToLower(strings.Join(strings.Fields(text), " "))
		}
	}
	return "der:" + string(v.FullBytes)
}

// namesOf returns the directory names of c: its subject, unless it is empty, and
// those in its subject alternative name.
func namesOf(c *x509.Certificate) (names []name, err error) {
	subject, err := parseName(c.RawSubject)
	if err != nil {
		return nil, err
	}
	if len(subject) > 0 {
		names = append(names, subject)
	}
	for _, e := range c.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var general []asn1.RawValue
		if rest, err := asn1.Unmarshal(e.Value, &general); err != nil || len(rest) > 0 {
			return nil, errName
		}
		for _, g := range general {
			if g.Class != asn1.ClassContextSpecific || g.Tag != tagDirectory {
				continue
			}
			n, err := parseName(g.Bytes)
			if err != nil {
				return nil, err
			}
			names = append(names, n)
		}
	}
	return names, nil
}
