package certpath

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
)

// oidEmailAddress is the attribute type of PKCS #9.
var oidEmailAddress = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}

// checkEmail applies the constraints of issuer on email addresses to the subject
// of c, if c has no email address among its alternative names, which crypto/x509
// checks (RFC 5280, section 4.2.1.10).
func checkEmail(issuer, c *x509.Certificate) error {
	if len(c.EmailAddresses) > 0 {
		return nil
	}
	for _, a := range c.Subject.Names {
		address, ok := a.Value.(string)
		if !a.Type.Equal(oidEmailAddress) || !ok {
			continue
		}
		within := func(constraint string) bool { return emailWithin(address, constraint) }
		if p := issuer.PermittedEmailAddresses; len(p) > 0 && !slices.ContainsFunc(p, within) {
			return fmt.Errorf("its name constraints do not permit the email address %q", address)
		}
		if slices.ContainsFunc(issuer.ExcludedEmailAddresses, within) {
			return fmt.Errorf("its name constraints exclude the email address %q", address)
		}
	}
	return nil
}

// emailWithin reports whether an address is within a constraint: an address, a
// host, or a domain that begins with a period. Only the local part is
// case-sensitive.
func emailWithin(address, constraint string) bool {
	at := strings.LastIndexByte(address, '@')
	local, host := address[:max(at, 0)], address[at+1:]
	switch i := strings.LastIndexByte(constraint, '@'); {
	case i >= 0:
		return at >= 0 && local == constraint[:i] && strings.EqualFold(host, constraint[i+1:])
	case strings.HasPrefix(constraint, "."):
		n := len(host) - len(constraint)
		return n > 0 && strings.EqualFold(host[n:], constraint)
	}
	return strings.EqualFold(host, constraint)
}
