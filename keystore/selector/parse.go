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

// Parse parses the attributes of a reference to the key store of an operating
// system: NAME=VALUE, separated by ";". It returns the attributes of a
// [Selector], which are [Attributes], as s, and the values of the attributes
// backendNames in backend. Values may be percent-encoded; "%" and ";" must be.
// Parse refuses attributes that are unknown, empty or given twice. Errors do
// not contain the reference.
func Parse(rest string, backendNames ...string) (s Selector, backend map[string]string, err error) {
	backend = make(map[string]string)
	if rest == "" {
		return s, backend, nil
	}
	known := slices.Concat(backendNames, Attributes())
	values, err := keystore.ParseAttributes(rest, known...)
	if err != nil {
		return Selector{}, nil, err
	}
	for _, name := range known {
		value, given := values[name]
		switch {
		case !given:
		case !utf8.ValidString(value):
			err = errNotUTF8
		case slices.Contains(backendNames, name):
			backend[name] = value
		default:
			err = s.set(name, value)
		}
		if err != nil {
			return Selector{}, nil, fmt.Errorf("attribute %q %w", name, err)
		}
	}
	return s, backend, nil
}

// String returns s as attributes of a reference, in the form that [Parse]
// parses.
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

// refAttributes has a function for each attribute that parses its value. The
// caller puts the attribute's name before an error.
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

// Attributes returns the names of the attributes that [Parse] parses into a
// [Selector].
func Attributes() []string {
	names := make([]string, len(refAttributes))
	for i, a := range refAttributes {
		names[i] = a.name
	}
	return names
}

func (s *Selector) set(name, value string) error {
	for _, a := range refAttributes {
		if a.name == name {
			return a.set(s, value)
		}
	}
	panic("unreachable: " + name + " is not in the table")
}

// maxSerial bounds a serial number, in hexadecimal digits. RFC 5280, section
// 4.1.2.2, allows 40, but some certificates have more.
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
		return nil, fmt.Errorf("has %d hexadecimal digits instead of %d; use sha256= for SHA-256 and sha1= for SHA-1", len(digits), 2*size)
	}
	return hex.DecodeString(digits)
}

// hexDigits removes the characters that programs print around hexadecimal
// digits, such as the left-to-right mark U+200E that the Windows certificate
// dialog puts before a thumbprint.
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
