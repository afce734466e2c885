package selector

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/thumbprint"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Selector selects a certificate in the key store of an operating system. The
// certificate must match all fields that are set. The zero Selector matches
// every certificate. No method changes a Selector.
type Selector struct {
	// Subject and Issuer match a name that contains all of their RDNs, in
	// the order of RFC 4514 or in the order of the certificate, which is
	// the reverse. Values are compared without regard to case and to the
	// number of spaces (RFC 5280, section 7.1). The order of the attributes
	// in a multi-valued RDN does not matter. A certificate whose name has
	// no other RDNs is preferred to one whose name has more.
	Subject, Issuer DN

	Serial *big.Int // nil: any
	SHA256 []byte   // the thumbprint, 32 bytes; nil: any
	SHA1   []byte   // the thumbprint, 20 bytes; nil: any

	// UseLatestExpiring matches only certificates that are valid now, and
	// selects the one of them that expires last.
	UseLatestExpiring bool
}

// A Candidate is a certificate in a store.
type Candidate struct {
	Ref         keystore.Ref      // selects only this certificate; can be pasted into a command
	Certificate *x509.Certificate // nil if it cannot be read
	Err         error             // why a certificate that matches cannot be used; nil: it can
}

// For returns a Selector that matches only cert.
func For(cert *x509.Certificate) Selector {
	subject, _ := parseName(cert.RawSubject) // on error, the thumbprint is enough
	sum := sha256.Sum256(cert.Raw)
	return Selector{Subject: subject, SHA256: sum[:]}
}

// Matches reports whether cert matches s at the time now.
func (s Selector) Matches(cert *x509.Certificate, now time.Time) bool {
	return s.mismatch(Candidate{Certificate: cert}, now) == ""
}

// Select returns the index of the only candidate that matches s at the time
// now. If several candidates have the same certificate, Select considers only
// the first one that can be used.
//
// Attestation certificates do not match; see [signer.IsAttestation].
//
// If no candidate matches, Select fails with [signer.ErrNotFound], and the hint
// says why each candidate does not match. If several candidates match, it fails
// with [signer.ErrAmbiguous], and the hint lists their references. If the only
// candidate that matches has an error, Select fails with that error.
func (s Selector) Select(candidates []Candidate, now time.Time) (int, error) {
	var usable, unusable []int
	reasons := make([]string, len(candidates))
	for i, c := range candidates {
		reasons[i] = s.mismatch(c, now)
		if reasons[i] == "" && signer.IsAttestation(c.Certificate) {
			reasons[i] = "it is an attestation certificate of a YubiKey"
		}
		switch {
		case reasons[i] != "" || slices.ContainsFunc(usable, func(j int) bool { return sameCertificate(candidates[j], c) }):
		case c.Err == nil:
			usable = append(usable, i)
		default:
			reasons[i] = c.Err.Error()
			unusable = append(unusable, i)
		}
	}
	usable = s.prefer(candidates, usable)
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

// mismatch returns the reason why c does not match s, or "" if it matches.
func (s Selector) mismatch(c Candidate, now time.Time) string {
	cert := c.Certificate
	switch {
	case cert == nil && c.Err != nil:
		return c.Err.Error()
	case cert == nil:
		return "cannot be read"
	}
	sum1, sum256 := thumbprint.SHA1(cert.Raw), sha256.Sum256(cert.Raw)
	switch {
	case !s.Subject.occursIn(cert.RawSubject):
		return "the subject is different"
	case !s.Issuer.occursIn(cert.RawIssuer):
		return "the issuer is " + nameText(cert.RawIssuer)
	case s.Serial != nil && s.Serial.Cmp(cert.SerialNumber) != 0:
		return fmt.Sprintf("the serial number is %x", cert.SerialNumber)
	case s.SHA256 != nil && !bytes.Equal(s.SHA256, sum256[:]):
		return "the SHA-256 thumbprint is different"
	case s.SHA1 != nil && !bytes.Equal(s.SHA1, sum1[:]):
		return fmt.Sprintf("the SHA-1 thumbprint is %x", sum1)
	case s.UseLatestExpiring && now.After(cert.NotAfter):
		return "expired on " + cert.NotAfter.UTC().Format(time.DateOnly)
	case s.UseLatestExpiring && now.Before(cert.NotBefore):
		return "not valid before " + cert.NotBefore.UTC().Format(time.DateOnly)
	}
	return ""
}

// prefer keeps only the matches whose names have no other RDNs, if there are
// any. If s.UseLatestExpiring is set, it then keeps only the certificates that
// expire last.
func (s Selector) prefer(candidates []Candidate, matches []int) []int {
	exact := func(i int) bool {
		c := candidates[i].Certificate
		return s.Subject.isWhole(c.RawSubject) && s.Issuer.isWhole(c.RawIssuer)
	}
	if slices.ContainsFunc(matches, exact) {
		matches = slices.DeleteFunc(matches, func(i int) bool { return !exact(i) })
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

// maxListed bounds the number of certificates in one hint.
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
		return signer.WithHint(err, "the store contains no certificates; check the name of the store and the user")
	}
	var listed []string
	for i, c := range candidates {
		if reasons[i] != "" {
			listed = append(listed, fmt.Sprintf("%s (%s)", c.Ref, reasons[i]))
		}
	}
	return signer.WithHint(err, "the store contains: "+list(listed))
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
