package keystore

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// A Selector says which certificate of an operating system's key store is
// meant. Everything that is set must be true of it; the zero Selector takes
// any. A Selector is not changed by any method.
type Selector struct {
	// Subject and Issuer match a name that has all of their RDNs, in the
	// order of RFC 4514 or in that of the certificate, which is the other
	// way round. Values are compared without regard to case and to the
	// number of blanks (RFC 5280, section 7.1); an RDN of several attributes
	// is equal to one that has the same ones in any order. A certificate
	// whose name has these RDNs and no others goes before one that has more.
	Subject, Issuer DN

	Serial *big.Int // nil: any
	SHA256 []byte   // the thumbprint, 32 bytes; nil: any
	SHA1   []byte   // likewise, 20 bytes

	// UseLatestExpiring takes, of several certificates that are valid now,
	// the one that expires last. One that is not valid is not taken.
	UseLatestExpiring bool
}

// A Candidate is a certificate that a store has.
type Candidate struct {
	Ref         Ref               // opens it alone; fit to be pasted
	Certificate *x509.Certificate // nil if it cannot be read
	Err         error             // why it cannot be used although a Selector may match it; nil: it can
}

// SelectorFor selects cert and no other.
func SelectorFor(cert *x509.Certificate) Selector {
	subject, _ := parseName(cert.RawSubject) // else without: the thumbprint is enough
	sum := sha256.Sum256(cert.Raw)
	return Selector{Subject: subject, SHA256: sum[:]}
}

// Matches reports whether cert alone is what s selects at the time now.
func (s Selector) Matches(cert *x509.Certificate, now time.Time) bool {
	return s.refuse(Candidate{Certificate: cert}, now) == ""
}

// Select returns the index of the one candidate that s means at the time now.
// The same certificate twice counts as one, the first that can be used.
//
// It fails with [signer.ErrNotFound] if there is none, and the hint says why
// each was refused; with [signer.ErrAmbiguous] if there are several, and the
// hint lists their references; with the candidate's own error if the only one
// that matches has one.
func (s Selector) Select(candidates []Candidate, now time.Time) (int, error) {
	var usable, unusable []int
	reasons := make([]string, len(candidates))
	for i, c := range candidates {
		switch reasons[i] = s.refuse(c, now); {
		case reasons[i] != "" || slices.ContainsFunc(usable, func(j int) bool { return sameCertificate(candidates[j], c) }):
		case c.Err == nil:
			usable = append(usable, i)
		default:
			reasons[i] = c.Err.Error()
			unusable = append(unusable, i)
		}
	}
	usable = s.best(candidates, usable)
	switch {
	case len(usable) == 1:
		return usable[0], nil
	case len(usable) > 1:
		return -1, s.ambiguous(candidates, usable)
	case len(unusable) == 1:
		c := candidates[unusable[0]]
		return -1, fmt.Errorf("certificate %s: %w", describe(c), c.Err)
	}
	return -1, s.notFound(candidates, reasons)
}

func sameCertificate(a, b Candidate) bool {
	return a.Certificate != nil && b.Certificate != nil && a.Certificate.Equal(b.Certificate)
}

// refuse says why c does not match; "" if it does.
func (s Selector) refuse(c Candidate, now time.Time) string {
	cert := c.Certificate
	switch {
	case cert == nil && c.Err != nil:
		return c.Err.Error()
	case cert == nil:
		return "it cannot be read"
	}
	sum1, sum256 := sha1.Sum(cert.Raw), sha256.Sum256(cert.Raw)
	switch {
	case !s.Subject.occursIn(cert.RawSubject):
		return "another subject"
	case !s.Issuer.occursIn(cert.RawIssuer):
		return "another issuer: " + nameText(cert.RawIssuer)
	case s.Serial != nil && s.Serial.Cmp(cert.SerialNumber) != 0:
		return fmt.Sprintf("another serial number: %x", cert.SerialNumber)
	case s.SHA256 != nil && !bytes.Equal(s.SHA256, sum256[:]):
		return "another SHA-256 thumbprint"
	case s.SHA1 != nil && !bytes.Equal(s.SHA1, sum1[:]):
		return fmt.Sprintf("another SHA-1 thumbprint: %x", sum1)
	case s.UseLatestExpiring && now.After(cert.NotAfter):
		return "expired " + cert.NotAfter.UTC().Format(time.DateOnly)
	case s.UseLatestExpiring && now.Before(cert.NotBefore):
		return "not valid before " + cert.NotBefore.UTC().Format(time.DateOnly)
	}
	return ""
}

// best leaves those whose names are matched in full, if there are any, and of
// these the last to expire, if that is asked for.
func (s Selector) best(candidates []Candidate, matches []int) []int {
	full := func(i int) bool {
		c := candidates[i].Certificate
		return s.Subject.isWhole(c.RawSubject) && s.Issuer.isWhole(c.RawIssuer)
	}
	if slices.ContainsFunc(matches, full) {
		matches = slices.DeleteFunc(matches, func(i int) bool { return !full(i) })
	}
	if !s.UseLatestExpiring || len(matches) < 2 {
		return matches
	}
	newer := func(i, j int) int {
		a, b := candidates[i].Certificate, candidates[j].Certificate
		if n := b.NotAfter.Compare(a.NotAfter); n != 0 {
			return n
		}
		return b.NotBefore.Compare(a.NotBefore)
	}
	slices.SortStableFunc(matches, newer)
	return slices.DeleteFunc(slices.Clone(matches), func(i int) bool { return newer(matches[0], i) != 0 })
}

// maxListed bounds what one message lists.
const maxListed = 8

func (s Selector) ambiguous(candidates []Candidate, matches []int) error {
	var listed []string
	for _, i := range matches {
		c := candidates[i]
		listed = append(listed, fmt.Sprintf("%s (expires %s)", c.Ref, c.Certificate.NotAfter.UTC().Format(time.DateOnly)))
	}
	return signer.WithHint(
		fmt.Errorf("%w: %d certificates match %s", signer.ErrAmbiguous, len(matches), s.describe()),
		"add newest=yes (Selector.UseLatestExpiring) or name one of: "+list(listed))
}

func (s Selector) notFound(candidates []Candidate, reasons []string) error {
	err := fmt.Errorf("%w %s", signer.ErrNotFound, s.describe())
	if len(candidates) == 0 {
		return signer.WithHint(err, "there is no certificate at all; check the store and the user")
	}
	var listed []string
	for i, c := range candidates {
		if reasons[i] != "" {
			listed = append(listed, fmt.Sprintf("%s (%s)", c.Ref, reasons[i]))
		}
	}
	return signer.WithHint(err, "there are: "+list(listed))
}

func list(all []string) string {
	more := ""
	if n := len(all) - maxListed; n > 0 {
		all, more = all[:maxListed], fmt.Sprintf("  and %d more", n)
	}
	return strings.Join(all, "  ") + more
}

func describe(c Candidate) string {
	if c.Certificate == nil {
		return c.Ref.String()
	}
	return nameText(c.Certificate.RawSubject)
}

func (s Selector) describe() string {
	if text := s.String(); text != "" {
		return text
	}
	return "an empty selector"
}

func nameText(der []byte) string {
	d, err := parseName(der)
	if err != nil {
		return err.Error()
	}
	return d.String()
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

// String writes s as attributes of a reference, which [ParseSelector] takes.
func (s Selector) String() string {
	var parts []string
	add := func(name, value string) { parts = append(parts, FormatAttribute(name, value)) }
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

// selectorAttributes read one attribute each. Their errors go on after its name.
var selectorAttributes = []struct {
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

// SelectorAttributes returns the names of the attributes of a reference that
// make a [Selector].
func SelectorAttributes() []string {
	names := make([]string, len(selectorAttributes))
	for i, a := range selectorAttributes {
		names[i] = a.name
	}
	return names
}

// set gives s the attribute name.
func (s *Selector) set(name, value string) error {
	for _, a := range selectorAttributes {
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
