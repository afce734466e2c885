package pki

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// A Difference is one thing that a certificate lacks compared to the one that
// it replaces.
type Difference struct {
	What     string // such as "subject"
	Old, New string
}

// String returns the difference as one sentence without a full stop.
func (d Difference) String() string {
	return fmt.Sprintf("%s: %s instead of %s", d.What, d.New, d.Old)
}

// Compare returns in which respects the certificate renewed is another identity
// than old, or may do less: subject, alternative names, key usages, issuer. It
// does not compare keys and validity, which a renewal may change. A certificate
// that has more alternative names or usages than old differs as well.
func Compare(old, renewed *x509.Certificate) (differences []Difference) {
	for _, a := range aspects {
		if was, is := a.of(old), a.of(renewed); was != is {
			differences = append(differences, Difference{a.name, quoted(was), quoted(is)})
		}
	}
	return differences
}

func quoted(s string) string {
	if s == "" {
		return "none"
	}
	return fmt.Sprintf("%q", s)
}

// aspects are the parts of a certificate that make an identity. The DER of a
// name is compared apart from its text, because a verifier may compare it.
var aspects = []struct {
	name string
	of   func(*x509.Certificate) string
}{
	{"subject", func(c *x509.Certificate) string { return c.Subject.String() }},
	{"DER of the subject", func(c *x509.Certificate) string { return hex.EncodeToString(c.RawSubject) }},
	{"issuer", func(c *x509.Certificate) string { return c.Issuer.String() }},
	{"DNS names", func(c *x509.Certificate) string { return list(c.DNSNames) }},
	{"URIs", func(c *x509.Certificate) string { return joined(c.URIs) }},
	{"IP addresses", func(c *x509.Certificate) string { return joined(c.IPAddresses) }},
	{"email addresses", func(c *x509.Certificate) string { return list(c.EmailAddresses) }},
	{"other alternative names", func(c *x509.Certificate) string {
		var names []string
		for _, name := range otherNames(c.Extensions) {
			names = append(names, nameType(name)+":"+hex.EncodeToString(name.Bytes))
		}
		return strings.Join(names, " ")
	}},
	{"key usage", func(c *x509.Certificate) string { return keyUsageText(c.KeyUsage) }},
	{"extended key usage", extKeyUsageText},
	{"unknown critical extensions", func(c *x509.Certificate) string {
		var oids []string
		for _, oid := range c.UnhandledCriticalExtensions {
			oids = append(oids, oid.String())
		}
		return strings.Join(oids, " ")
	}},
	{"CA", func(c *x509.Certificate) string { return strconv.FormatBool(c.IsCA) }},
}

func joined[T fmt.Stringer](values []T) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.String()
	}
	return list(texts)
}

// withoutSpaces escapes the spaces within a name.
func withoutSpaces(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, `\`, `\\`), " ", `\ `)
}

// list joins names by spaces. Two lists with the same text are the same.
func list(names []string) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = withoutSpaces(name)
	}
	return strings.Join(texts, " ")
}

func keyUsageText(usage x509.KeyUsage) string {
	var names []string
	for name, u := range KeyUsages() {
		if usage&u != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func extKeyUsageText(c *x509.Certificate) string {
	var names []string
	for _, u := range c.ExtKeyUsage {
		names = append(names, u.String())
	}
	for _, oid := range c.UnknownExtKeyUsage {
		names = append(names, oid.String())
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// Equal reports whether both have the same names. Subjects are compared in the form
// of RFC 4514, because software differs in the string types of ASN.1.
func (n Names) Equal(other Names) bool {
	return n.SubjectText() == other.SubjectText() && (len(n.Subject) == 0) == (len(other.Subject) == 0) &&
		slices.Equal(n.DNSNames, other.DNSNames) && joined(n.URIs) == joined(other.URIs) &&
		slices.Equal(n.IPAddresses, other.IPAddresses) && slices.Equal(n.EmailAddresses, other.EmailAddresses) &&
		slices.Equal(n.Unsupported, other.Unsupported)
}

// checkValidity returns an error if c is not valid at the time now.
func checkValidity(c *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(c.NotBefore):
		return signer.WithHint(fmt.Errorf("certificate %q is not valid before %s", c.Subject, c.NotBefore.UTC().Format(time.RFC3339)), "correct the clock, or wait")
	case now.After(c.NotAfter):
		return signer.WithHint(fmt.Errorf("certificate %q expired at %s", c.Subject, c.NotAfter.UTC().Format(time.RFC3339)), "use a CA whose certificate is valid; docs/ca.md describes how to replace a CA")
	}
	return nil
}
