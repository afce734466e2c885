package selector

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// An attribute is an AttributeTypeAndValue of an RDN.
type attribute struct {
	oid  string
	text string
	der  []byte // the value if it is not text, otherwise nil
}

func (a *attribute) setRaw(v asn1.RawValue) {
	var ok bool
	if a.text, ok = textOf(v); !ok {
		a.der = v.FullBytes
	}
}

func (a attribute) name() string {
	if name, ok := nameOf(a.oid); ok {
		return name
	}
	return a.oid
}

// canonical returns a string that is the same for all attributes that match by
// caseIgnoreMatch, as far as RFC 5280, section 7.1, requires it: case is
// folded, and spaces are trimmed and compressed.
func (a attribute) canonical() string {
	if a.der != nil {
		return a.oid + "=#" + hex.EncodeToString(a.der)
	}
	return a.oid + "=" + strings.ToLower(strings.ToUpper(strings.Join(strings.Fields(a.text), " ")))
}

func (a attribute) String() string {
	if a.der != nil {
		return a.name() + "=#" + hex.EncodeToString(a.der)
	}
	return a.name() + "=" + escape(a.text)
}

func newRDN(attributes []attribute) rdn {
	canonical, text := make([]string, len(attributes)), make([]string, len(attributes))
	for i, a := range attributes {
		// A quoted string cannot contain the separator, whatever the value is.
		canonical[i], text[i] = strconv.Quote(a.canonical()), a.String()
	}
	slices.Sort(canonical)
	return rdn{strings.Join(canonical, "+"), strings.Join(text, "+"), attributes}
}

// escape escapes a value as in RFC 4514, section 2.4, and also control
// characters.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c < 0x20 || c == 0x7f:
			fmt.Fprintf(&b, "\\%02X", c)
		case strings.IndexByte(`"+,;<>\`, c) >= 0,
			c == '#' && i == 0,
			c == ' ' && (i == 0 || i == len(s)-1):
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// An rdnSET is an RDN in DER. The suffix SET makes encoding/asn1 decode a SET.
type rdnSET []struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// parseName parses a Name in DER. The order of the RDNs in a DN is the reverse
// of the order in DER (RFC 4514, section 2.1).
func parseName(der []byte) (DN, error) {
	var sets []rdnSET
	if rest, err := asn1.Unmarshal(der, &sets); err != nil || len(rest) > 0 {
		return DN{}, errors.New("malformed name")
	}
	var d DN
	for _, set := range slices.Backward(sets) {
		attributes := make([]attribute, len(set))
		for i, v := range set {
			attributes[i].oid = v.Type.String()
			attributes[i].setRaw(v.Value)
		}
		d.rdns = append(d.rdns, newRDN(attributes))
	}
	return d, nil
}

// textOf returns the text of an ASN.1 string. It decodes TeletexString as
// Latin-1, as most implementations do (RFC 5280, appendix B).
func textOf(v asn1.RawValue) (string, bool) {
	if v.Class != asn1.ClassUniversal || v.IsCompound {
		return "", false
	}
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagNumericString, tagVisibleString:
		return string(v.Bytes), utf8.Valid(v.Bytes)
	case asn1.TagT61String:
		runes := make([]rune, len(v.Bytes))
		for i, c := range v.Bytes {
			runes[i] = rune(c)
		}
		return string(runes), true
	case asn1.TagBMPString:
		if len(v.Bytes)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(v.Bytes)/2)
		for i := range units {
			units[i] = uint16(v.Bytes[2*i])<<8 | uint16(v.Bytes[2*i+1])
		}
		return string(utf16.Decode(units)), true
	}
	return "", false
}

const tagVisibleString = 26

// attributeTypes has the names of RFC 4514, section 3, and the names that
// OpenSSL, Windows and macOS print. A DN prints with the first name of a type.
var attributeTypes = []struct {
	oid   string
	names []string
}{
	{"2.5.4.3", []string{"CN", "COMMONNAME"}},
	{"2.5.4.10", []string{"O", "ORGANIZATIONNAME"}},
	{"2.5.4.11", []string{"OU", "ORGANIZATIONALUNITNAME"}},
	{"2.5.4.6", []string{"C", "COUNTRYNAME"}},
	{"2.5.4.7", []string{"L", "LOCALITYNAME"}},
	{"2.5.4.8", []string{"ST", "S", "STATEORPROVINCENAME"}},
	{"2.5.4.9", []string{"STREET", "STREETADDRESS"}},
	{"2.5.4.5", []string{"SERIALNUMBER"}},
	{"2.5.4.17", []string{"POSTALCODE"}},
	{"0.9.2342.19200300.100.1.25", []string{"DC", "DOMAINCOMPONENT"}},
	{"0.9.2342.19200300.100.1.1", []string{"UID", "USERID"}},
	{"1.2.840.113549.1.9.1", []string{"EMAILADDRESS", "E", "EMAIL"}},
	{"2.5.4.4", []string{"SN", "SURNAME"}},
	{"2.5.4.42", []string{"GN", "G", "GIVENNAME"}},
	{"2.5.4.43", []string{"INITIALS", "I"}},
	{"2.5.4.12", []string{"TITLE", "T"}},
	{"2.5.4.13", []string{"DESCRIPTION"}},
	{"2.5.4.41", []string{"NAME"}},
	{"2.5.4.44", []string{"GENERATIONQUALIFIER"}},
	{"2.5.4.46", []string{"DNQUALIFIER", "DNQ"}},
	{"2.5.4.65", []string{"PSEUDONYM"}},
	{"2.5.4.97", []string{"ORGANIZATIONIDENTIFIER"}},
}

// nameOf returns the first name of an attribute type.
func nameOf(oid string) (name string, ok bool) {
	for _, t := range attributeTypes {
		if t.oid == oid {
			return t.names[0], true
		}
	}
	return "", false
}

// oidOf returns the attribute type with a name, which is in upper case.
func oidOf(name string) (oid string, ok bool) {
	for _, t := range attributeTypes {
		if slices.Contains(t.names, name) {
			return t.oid, true
		}
	}
	return "", false
}

func knownTypes() string {
	var all []string
	for _, t := range attributeTypes {
		all = append(all, t.names[0])
	}
	return strings.Join(all, ", ")
}
