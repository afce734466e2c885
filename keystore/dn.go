package keystore

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxDN bounds the text of a distinguished name, in bytes.
const maxDN = 64 << 10

// A DN is a distinguished name, or some RDNs of one. The zero DN has none. It
// is not changed by any method.
type DN struct{ rdns []rdn }

// An rdn is a relative distinguished name: a set of attributes.
type rdn struct {
	canonical string // the same for equal RDNs
	text      string // as RFC 4514 writes it
}

// ParseDN parses a name as RFC 4514 writes it. It also takes what RFC 2253,
// section 4, and RFC 1779 have beside it: quoted values, semicolons between
// RDNs, blanks around separators and "OID." before an object identifier.
// Attribute types are in any case; those without a known name are written as
// object identifiers. A name has at most 64 KiB.
func ParseDN(s string) (DN, error) {
	switch {
	case len(s) > maxDN:
		return DN{}, fmt.Errorf("is longer than %d KiB", maxDN>>10)
	case !utf8.ValidString(s):
		return DN{}, errNoText
	case strings.Trim(s, blanks) == "":
		return DN{}, errors.New("is empty")
	case s[0] == '/':
		return DN{}, signer.WithHint(errors.New("is not a distinguished name in the form of RFC 4514, such as CN=app,O=Example"),
			"openssl x509 -in cert.pem -noout -subject -nameopt RFC2253 prints it")
	}
	p := dnParser{rest: s}
	var d DN
	for {
		r, err := p.rdn()
		if err != nil {
			return DN{}, err
		}
		d.rdns = append(d.rdns, r)
		if p.rest == "" {
			return d, nil
		}
		p.rest = p.rest[1:] // "," or ";"
	}
}

const blanks = " \t\r\n"

var errNoText = errors.New("is not text in UTF-8")

// A dnParser reads RDNs from the front of rest.
type dnParser struct{ rest string }

func (p *dnParser) skipBlanks() { p.rest = strings.TrimLeft(p.rest, blanks) }

// rdn stops at the end or before the separator of RDNs.
func (p *dnParser) rdn() (rdn, error) {
	var attributes []attribute
	for {
		a, err := p.attribute()
		if err != nil {
			return rdn{}, err
		}
		attributes = append(attributes, a)
		p.skipBlanks()
		switch {
		case p.rest == "", p.rest[0] == ',', p.rest[0] == ';':
			return newRDN(attributes), nil
		case p.rest[0] != '+':
			return rdn{}, fmt.Errorf("has %q after the value of %s, where a comma is expected", first(p.rest), a.name())
		}
		p.rest = p.rest[1:]
	}
}

func first(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return s[:n]
}

func (p *dnParser) attribute() (a attribute, err error) {
	end := strings.IndexAny(p.rest, "=,;+")
	if end < 0 || p.rest[end] != '=' {
		return a, errors.New("has a part that is not TYPE=VALUE; a comma within a value is written \\,")
	}
	if a.oid, err = attributeType(strings.Trim(p.rest[:end], blanks)); err != nil {
		return a, err
	}
	p.rest = p.rest[end+1:]
	p.skipBlanks()
	switch {
	case strings.HasPrefix(p.rest, "#"):
		err = p.hexValue(&a)
	case strings.HasPrefix(p.rest, `"`):
		p.rest = p.rest[1:]
		a.text, err = p.text(`"`)
		if err == nil && p.rest == "" {
			err = errors.New("has no closing quotation mark")
		}
		if err == nil {
			p.rest = p.rest[1:]
		}
	default:
		a.text, err = p.text(",;+")
	}
	if err != nil {
		err = fmt.Errorf("the value of %s %w", a.name(), err)
	}
	return a, err
}

// attributeType returns the object identifier of a type, in dots.
func attributeType(s string) (string, error) {
	upper := strings.ToUpper(s)
	if oid, ok := oidsByName[upper]; ok {
		return oid, nil
	}
	dotted := strings.TrimPrefix(upper, "OID.")
	parts := strings.Split(dotted, ".")
	for _, part := range parts {
		if part == "" || strings.Trim(part, "0123456789") != "" || len(part) > 1 && part[0] == '0' {
			return "", fmt.Errorf("has the attribute type %q, which is neither an object identifier nor one of %s", clip(s), knownTypes())
		}
	}
	if len(parts) < 2 {
		return "", fmt.Errorf("has the attribute type %q, which is no object identifier", clip(s))
	}
	return dotted, nil
}

// hexValue reads the encoding of a value (RFC 4514, section 2.4).
func (p *dnParser) hexValue(a *attribute) error {
	end := strings.IndexAny(p.rest, ",;+")
	if end < 0 {
		end = len(p.rest)
	}
	der, err := hex.DecodeString(strings.Trim(p.rest[1:end], blanks))
	if err != nil || len(der) == 0 {
		return errors.New("is not hexadecimal after #; write a leading # as \\#")
	}
	p.rest = p.rest[end:]
	var v asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &v); err != nil || len(rest) > 0 {
		return errors.New("is not the encoding of one ASN.1 value after #")
	}
	a.setRaw(v)
	return nil
}

// text reads up to the end or one of the characters in stop, and drops blanks
// that end an unquoted value unless they are escaped.
func (p *dnParser) text(stop string) (string, error) {
	var b []byte
	kept := 0 // the length of b up to which blanks stay
	for p.rest != "" && strings.IndexByte(stop, p.rest[0]) < 0 {
		c := p.rest[0]
		switch {
		case c == '\\':
			decoded, n, err := unescape(p.rest)
			if err != nil {
				return "", err
			}
			b = append(b, decoded)
			p.rest = p.rest[n:]
			kept = len(b)
			continue
		case c == 0, strings.IndexByte(`"<>`, c) >= 0 && stop != `"`:
			return "", fmt.Errorf("has %q, which is written \\%02X", c, c)
		}
		b = append(b, c)
		p.rest = p.rest[1:]
		if stop == `"` || strings.IndexByte(blanks, c) < 0 {
			kept = len(b)
		}
	}
	if b = b[:kept]; !utf8.Valid(b) {
		return "", errNoText
	}
	return string(b), nil
}

// unescape returns the byte that the backslash at the start of s stands for,
// and the length of the pair (RFC 4514, section 3).
func unescape(s string) (c byte, n int, err error) {
	if len(s) >= 3 {
		if v, err := hex.DecodeString(s[1:3]); err == nil {
			return v[0], 3, nil
		}
	}
	if len(s) >= 2 && strings.IndexByte(`"+,;<>\ #=`, s[1]) >= 0 {
		return s[1], 2, nil
	}
	return 0, 0, errors.New("has a backslash that escapes nothing; write it \\\\")
}

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

// String writes d as RFC 4514 does.
func (d DN) String() string {
	all := make([]string, len(d.rdns))
	for i, r := range d.rdns {
		all[i] = r.text
	}
	return strings.Join(all, ",")
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

func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
