package selector

import (
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/signer"
)

// maxDN bounds the text of a distinguished name, in bytes.
const maxDN = 64 << 10

// A DN is a distinguished name or a part of one. The zero DN has no RDNs. No
// method changes a DN.
type DN struct{ rdns []rdn }

// An rdn is a relative distinguished name: a set of attributes.
type rdn struct {
	canonical string // the same for equal RDNs
	text      string // in the form of RFC 4514

	attributes []attribute
}

// ParseDN parses a name in the form of RFC 4514. It also accepts the older
// forms of RFC 2253, section 4, and RFC 1779: quoted values, semicolons between
// RDNs, spaces around separators, and "OID." before an object identifier.
// Attribute types are case-insensitive. A type without a known name must be an
// object identifier. The maximum length of a name is 64 KiB.
func ParseDN(s string) (DN, error) {
	switch {
	case len(s) > maxDN:
		return DN{}, fmt.Errorf("is longer than %d KiB", maxDN>>10)
	case !utf8.ValidString(s):
		return DN{}, errNotUTF8
	case strings.Trim(s, whitespace) == "":
		return DN{}, errors.New("is empty")
	case s[0] == '/':
		return DN{}, signer.WithHint(errors.New("is not a distinguished name in the form of RFC 4514, such as CN=app,O=Example"),
			"openssl x509 -in cert.pem -noout -subject -nameopt RFC2253 prints this form")
	}
	p := dnParser{rest: s, comma: strings.Contains(s, ",")}
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

const whitespace = " \t\r\n"

var errNotUTF8 = errors.New("is not valid UTF-8")

// A dnParser parses RDNs. Each method consumes a prefix of rest.
type dnParser struct {
	rest  string
	comma bool // the text contains one
}

func (p *dnParser) skipSpace() { p.rest = strings.TrimLeft(p.rest, whitespace) }

// rdn parses up to the end or up to a separator of RDNs, which it leaves in
// rest.
func (p *dnParser) rdn() (rdn, error) {
	var attributes []attribute
	for {
		a, err := p.attribute()
		if err != nil {
			return rdn{}, err
		}
		attributes = append(attributes, a)
		p.skipSpace()
		switch {
		case p.rest == "", p.rest[0] == ',', p.rest[0] == ';':
			return newRDN(attributes), nil
		case p.rest[0] != '+':
			return rdn{}, fmt.Errorf("has %q instead of a comma after the value of %s", firstRune(p.rest), a.name())
		}
		p.rest = p.rest[1:]
	}
}

func firstRune(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return s[:n]
}

func (p *dnParser) attribute() (a attribute, err error) {
	end := strings.IndexAny(p.rest, "=,;+")
	if end < 0 || p.rest[end] != '=' {
		err = errors.New("contains a part that is not TYPE=VALUE")
		if p.comma {
			err = errors.New("contains a part that is not TYPE=VALUE; write a comma in a value as \\,")
		}
		return a, err
	}
	if a.oid, err = attributeType(strings.Trim(p.rest[:end], whitespace)); err != nil {
		return a, err
	}
	p.rest = p.rest[end+1:]
	p.skipSpace()
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

// attributeType returns the object identifier of a type in dotted-decimal form.
func attributeType(s string) (string, error) {
	upper := strings.ToUpper(s)
	if oid, ok := oidOf(upper); ok {
		return oid, nil
	}
	dotted := strings.TrimPrefix(upper, "OID.")
	parts := strings.Split(dotted, ".")
	for _, part := range parts {
		if part == "" || strings.Trim(part, "0123456789") != "" || len(part) > 1 && part[0] == '0' {
			return "", fmt.Errorf("has the attribute type %.64q, which is neither an object identifier nor one of %s", s, knownTypes())
		}
	}
	if len(parts) < 2 {
		return "", fmt.Errorf("has the attribute type %.64q, which is not an object identifier", s)
	}
	return dotted, nil
}

// hexValue parses "#" and the DER of a value in hexadecimal (RFC 4514, section
// 2.4).
func (p *dnParser) hexValue(a *attribute) error {
	end := strings.IndexAny(p.rest, ",;+")
	if end < 0 {
		end = len(p.rest)
	}
	der, err := hex.DecodeString(strings.Trim(p.rest[1:end], whitespace))
	if err != nil || len(der) == 0 {
		return errors.New("is not hexadecimal after #; write a leading # as \\#")
	}
	p.rest = p.rest[end:]
	var v asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &v); err != nil || len(rest) > 0 {
		return errors.New("is not the encoding of a single ASN.1 value after #")
	}
	a.setRaw(v)
	return nil
}

// text parses up to the end or up to one of the characters in stop. It removes
// unescaped whitespace from the end of an unquoted value.
func (p *dnParser) text(stop string) (string, error) {
	var b []byte
	trimmed := 0 // the length of b without whitespace at the end
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
			trimmed = len(b)
			continue
		case c == 0, strings.IndexByte(`"<>`, c) >= 0 && stop != `"`:
			return "", fmt.Errorf("contains %q; write it as \\%02X", c, c)
		}
		b = append(b, c)
		p.rest = p.rest[1:]
		if stop == `"` || strings.IndexByte(whitespace, c) < 0 {
			trimmed = len(b)
		}
	}
	if b = b[:trimmed]; !utf8.Valid(b) {
		return "", errNotUTF8
	}
	return string(b), nil
}

// unescape decodes the escape sequence at the start of s and returns its length
// (RFC 4514, section 3).
func unescape(s string) (c byte, n int, err error) {
	if len(s) >= 3 {
		if v, err := hex.DecodeString(s[1:3]); err == nil {
			return v[0], 3, nil
		}
	}
	if len(s) >= 2 && strings.IndexByte(`"+,;<>\ #=`, s[1]) >= 0 {
		return s[1], 2, nil
	}
	return 0, 0, errors.New("contains a backslash that does not begin an escape sequence; write it as \\\\")
}

// String returns d in the form of RFC 4514.
func (d DN) String() string {
	all := make([]string, len(d.rdns))
	for i, r := range d.rdns {
		all[i] = r.text
	}
	return strings.Join(all, ",")
}

// occursIn reports whether the name contains all RDNs of d, in the order of d
// or in the reverse order.
func (d DN) occursIn(name []byte) bool {
	if len(d.rdns) == 0 {
		return true
	}
	whole, err := parseName(name)
	if err != nil {
		return false
	}
	if isSubsequence(d.rdns, whole.rdns) {
		return true
	}
	slices.Reverse(whole.rdns)
	return isSubsequence(d.rdns, whole.rdns)
}

// isWhole reports whether a name in which d occurs has no other RDNs. The zero
// DN is whole in every name.
func (d DN) isWhole(name []byte) bool {
	whole, err := parseName(name)
	return len(d.rdns) == 0 || err == nil && len(whole.rdns) == len(d.rdns)
}

func isSubsequence(some, all []rdn) bool {
	for _, r := range all {
		if len(some) > 0 && some[0].canonical == r.canonical {
			some = some[1:]
		}
	}
	return len(some) == 0
}
