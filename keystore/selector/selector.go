package selector

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
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
	Ref         keystore.Ref      // opens it alone; fit to be pasted
	Certificate *x509.Certificate // nil if it cannot be read
	Err         error             // why it cannot be used although a Selector may match it; nil: it can
}

// For returns the Selector of cert and no other.
func For(cert *x509.Certificate) Selector {
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
