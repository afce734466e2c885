package selector

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/keystore"
)

// Parse reads the attributes of a reference to an operating system's key store,
// NAME=VALUE with ";" between them: those of a [Selector], which are
// [Attributes], and those of own, which it returns as they are. Values may be
// percent-encoded; "%" and ";" must be. Attributes that are unknown, empty or
// given twice are refused. Errors do not name the reference.
func Parse(rest string, own ...string) (s Selector, others map[string]string, err error) {
	others = make(map[string]string)
	if rest == "" {
		return s, others, nil
	}
	known := slices.Concat(own, Attributes())
	values, err := keystore.ParseAttributes(rest, known...)
	if err != nil {
		return Selector{}, nil, err
	}
	for _, name := range known {
		value, given := values[name]
		switch {
		case !given:
		case !utf8.ValidString(value):
			err = errNoText
		case slices.Contains(own, name):
			others[name] = value
		default:
			err = s.set(name, value)
		}
		if err != nil {
			return Selector{}, nil, fmt.Errorf("attribute %q %w", name, err)
		}
	}
	return s, others, nil
}

// String writes s as attributes of a reference, which [Parse] takes.
func (s Selector) String() string {
	var parts []string
	add := func(name, value string) { parts = append(parts, keystore.FormatAttribute(name, value)) }
	if len(s.Subject.rdns) > 0 {
		add("subject", s.Subject.String())
	}
	if len(s.Issuer.rdns) > 0 {
		add("issuer", s.Issuer.String())
	}
	if s.Serial != nil {
		add("serial", fmt.Sprintf("%x", s.Serial))
	}
	if s.SHA256 != nil {
		add("sha256", hex.EncodeToString(s.SHA256))
	}
	if s.SHA1 != nil {
		add("sha1", hex.EncodeToString(s.SHA1))
	}
	if s.UseLatestExpiring {
		add("newest", "yes")
	}
	return strings.Join(parts, ";")
}

// refAttributes read one attribute each. Their errors go on after its name.
var refAttributes = []struct {
	name string
	set  func(s *Selector, value string) error
}{
	{"subject", func(s *Selector, v string) (err error) { s.Subject, err = ParseDN(v); return err }},
	{"issuer", func(s *Selector, v string) (err error) { s.Issuer, err = ParseDN(v); return err }},
	{"serial", func(s *Selector, v string) (err error) { s.Serial, err = parseSerial(v); return err }},
	{"sha256", func(s *Selector, v string) (err error) { s.SHA256, err = parseThumbprint(v, sha256.Size); return err }},
	{"sha1", func(s *Selector, v string) (err error) { s.SHA1, err = parseThumbprint(v, sha1.Size); return err }},
	{"newest", func(s *Selector, v string) error {
		if s.UseLatestExpiring = v == "yes"; v != "yes" && v != "no" {
			return errors.New("is neither yes nor no")
		}
		return nil
	}},
}

// Attributes returns the names of the attributes of a reference that
// make a [Selector].
func Attributes() []string {
	names := make([]string, len(refAttributes))
	for i, a := range refAttributes {
		names[i] = a.name
	}
	return names
}

// set gives s the attribute name.
func (s *Selector) set(name, value string) error {
	for _, a := range refAttributes {
		if a.name == name {
			return a.set(s, value)
		}
	}
	panic("unreachable: " + name + " is not in the table")
}

// maxSerial bounds a serial number, in hexadecimal digits. Certificates have at
// most 40 (RFC 5280, section 4.1.2.2); some have more.
const maxSerial = 128

func parseSerial(s string) (*big.Int, error) {
	digits, err := hexDigits(s)
	if err != nil {
		return nil, err
	}
	if len(digits) > maxSerial {
		return nil, fmt.Errorf("has more than %d digits", maxSerial)
	}
	n, _ := new(big.Int).SetString(digits, 16)
	return n, nil
}

func parseThumbprint(s string, size int) ([]byte, error) {
	digits, err := hexDigits(s)
	if err != nil {
		return nil, err
	}
	if len(digits) != 2*size {
		return nil, fmt.Errorf("has %d hexadecimal digits instead of %d; those of SHA-256 are sha256=, those of SHA-1 are sha1=", len(digits), 2*size)
	}
	return hex.DecodeString(digits)
}

// hexDigits drops what programs print around hexadecimal digits, such as the
// mark U+200E that the certificate dialog of Windows puts before thumbprints.
func hexDigits(s string) (string, error) {
	digits := strings.NewReplacer(":", "", "-", "", " ", "", "\t", "", "\r", "", "\n", "", "\u200e", "").Replace(s)
	if len(digits) > 2 && digits[0] == '0' && digits[1]|0x20 == 'x' {
		digits = digits[2:]
	}
	if digits == "" || strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return "", errors.New("is not hexadecimal")
	}
	return digits, nil
}
