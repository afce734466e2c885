package selector

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// An attribute is a type and a value, which is text or something else.
type attribute struct {
	oid  string
	text string
	der  []byte // of what is not text
}

func (a *attribute) setRaw(v asn1.RawValue) {
	var ok bool
	if a.text, ok = textOf(v); !ok {
		a.der = v.FullBytes
	}
}

func (a attribute) name() string {
	if name, ok := namesByOID[a.oid]; ok {
		return name
	}
	return a.oid
}

// canonical follows caseIgnoreMatch as far as RFC 5280, section 7.1, asks for
// it: letters in any case, blanks at the ends dropped and within compressed.
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
		canonical[i], text[i] = a.canonical(), a.String()
	}
	slices.Sort(canonical)
	// U+0000 cannot be mistaken for a part of a value: strings compare, not parse.
	return rdn{strings.Join(canonical, "\x00+\x00"), strings.Join(text, "+")}
}

// escape writes a value as RFC 4514, section 2.4, does; control characters, too.
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

// A nameSET is an RDN in DER; encoding/asn1 goes by the end of its name.
type nameSET []struct {
	Type  asn1.ObjectIdentifier
	Value asn1.RawValue
}

// parseName reads a Name of a certificate. The string form begins with the RDN
// that the certificate has last (RFC 4514, section 2.1).
func parseName(der []byte) (DN, error) {
	var sets []nameSET
	if rest, err := asn1.Unmarshal(der, &sets); err != nil || len(rest) > 0 {
		return DN{}, errors.New("name cannot be read")
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

// textOf returns the text of a string type of ASN.1. TeletexString is taken for
// Latin-1, as everybody does (RFC 5280, appendix B, knows no better).
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

// attributeTypes are the names of RFC 4514, section 3, and those that OpenSSL,
// Windows and macOS print. The first name of a type is the one that is written.
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

var oidsByName, namesByOID = func() (byName, byOID map[string]string) {
	byName, byOID = make(map[string]string), make(map[string]string)
	for _, t := range attributeTypes {
		byOID[t.oid] = t.names[0]
		for _, name := range t.names {
			byName[name] = t.oid
		}
	}
	return byName, byOID
}()

func knownTypes() string {
	var all []string
	for _, t := range attributeTypes {
		all = append(all, t.names[0])
	}
	return strings.Join(all, ", ")
}
