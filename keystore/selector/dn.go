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
			return "", fmt.Errorf("has the attribute type %.64q, which is neither an object identifier nor one of %s", s, knownTypes())
		}
	}
	if len(parts) < 2 {
		return "", fmt.Errorf("has the attribute type %.64q, which is no object identifier", s)
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

// String writes d as RFC 4514 does.
func (d DN) String() string {
	all := make([]string, len(d.rdns))
	for i, r := range d.rdns {
		all[i] = r.text
	}
	return strings.Join(all, ",")
}

// occursIn reports whether all RDNs of d occur in the name, in either order.
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

// isWhole reports whether a name in which d occurs has nothing else.
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
