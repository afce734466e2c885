package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// Names are the names in a certificate or in a request.
type Names struct {
	// Subject is the DER of a Name (RFC 5280, section 4.1.2.4); nil: empty.
	Subject []byte

	// The subject alternative names (RFC 5280, section 4.2.1.6). IAM Roles
	// Anywhere makes a session tag of the first one of each type.
	DNSNames       []string
	URIs           []*url.URL
	IPAddresses    []netip.Addr
	EmailAddresses []string

	// Unsupported are the types of other alternative names, such as
	// "directoryName". Check refuses them.
	Unsupported []string
}

// CommonName returns Names with the subject CN=name.
func CommonName(name string) Names {
	der, err := asn1.Marshal(pkix.Name{CommonName: name}.ToRDNSequence())
	if err != nil {
		return Names{} // a string that is not UTF-8 is refused as an empty subject
	}
	return Names{Subject: der}
}

// NamesOf returns the names of a certificate.
func NamesOf(cert *x509.Certificate) Names {
	return namesOf(cert.RawSubject, x509.CertificateRequest{
		DNSNames: cert.DNSNames, URIs: cert.URIs, IPAddresses: cert.IPAddresses, EmailAddresses: cert.EmailAddresses,
		Extensions: cert.Extensions,
	})
}

// NamesOfRequest returns the names that a request asks for. A certificate must
// not get them unless the requester may have them.
func NamesOfRequest(r *x509.CertificateRequest) Names { return namesOf(r.RawSubject, *r) }

func namesOf(subject []byte, r x509.CertificateRequest) Names {
	n := Names{Subject: subject, DNSNames: r.DNSNames, URIs: r.URIs, EmailAddresses: r.EmailAddresses}
	for _, ip := range r.IPAddresses {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			n.IPAddresses = append(n.IPAddresses, addr.Unmap())
		}
	}
	for _, name := range otherNames(r.Extensions) {
		n.Unsupported = append(n.Unsupported, nameType(name))
	}
	return n
}

// Types of a GeneralName, by their tags (RFC 5280, section 4.2.1.6): those that are
// issued are rfc822Name, dNSName, uniformResourceIdentifier and iPAddress.
var (
	issuedTypes = []int{1, 2, 6, 7}
	nameTypes   = lookup.Table[int, string]{{0, "otherName"}, {3, "x400Address"}, {4, "directoryName"}, {5, "ediPartyName"}, {8, "registeredID"}}
)

func nameType(name asn1.RawValue) string {
	if text := nameTypes.Get(name.Tag); text != "" && name.Class == asn1.ClassContextSpecific {
		return text
	}
	return fmt.Sprintf("with the tag %d", name.Tag)
}

// otherNames returns the alternative names of types that are not issued.
func otherNames(extensions []pkix.Extension) (other []asn1.RawValue) {
	for _, e := range extensions {
		var names []asn1.RawValue
		if !e.Id.Equal(oidSubjectAltName) {
			continue
		}
		if _, err := asn1.Unmarshal(e.Value, &names); err != nil {
			continue // crypto/x509 has refused this
		}
		for _, name := range names {
			if name.Class != asn1.ClassContextSpecific || name.IsCompound || !slices.Contains(issuedTypes, name.Tag) {
				other = append(other, name)
			}
		}
	}
	return other
}

// SubjectText returns the subject in the form of RFC 4514, or "" if it is empty
// or invalid.
func (n Names) SubjectText() string {
	subject, err := n.subject()
	if err != nil {
		return ""
	}
	return subject.String()
}

// maxNames bounds the alternative names of a certificate, and maxName the bytes
// of one name.
const (
	maxNames = 100
	maxName  = 1 << 10
)

// Check returns an error if a new certificate must not have the names. An empty
// subject is no error.
func (n Names) Check() error {
	if err := n.checkSubject(); err != nil {
		return err
	}
	return n.checkForm()
}

// checkForm is Check without the rules for subjects: a request may repeat the
// subject of an old certificate.
func (n Names) checkForm() error {
	subject, err := n.subject()
	if err != nil {
		return err
	}
	for _, set := range subject {
		for _, a := range set {
			if text, ok := a.Value.(string); ok && len(text) > maxName {
				return fmt.Errorf("subject: the value of %s is longer than %d bytes", attributeName(a.Type.String()), maxName)
			}
		}
	}
	if len(n.Subject) > maxSubject {
		return fmt.Errorf("subject: is longer than %d KiB", maxSubject>>10)
	}
	if len(n.Unsupported) > 0 {
		return signer.WithHint(fmt.Errorf("an alternative name of the type %s is not supported: %w", n.Unsupported[0], errors.ErrUnsupported),
			"only DNS names, URIs, IP addresses and email addresses are issued")
	}
	if len(n.DNSNames)+len(n.URIs)+len(n.IPAddresses)+len(n.EmailAddresses) > maxNames {
		return fmt.Errorf("more than %d alternative names", maxNames)
	}
	for _, name := range n.DNSNames {
		if err := checkDNS(name); err != nil {
			return fmt.Errorf("DNS name %q %w", name, err)
		}
	}
	for _, u := range n.URIs {
		if err := checkURI(u); err != nil {
			return fmt.Errorf("URI %q %w", u, err)
		}
	}
	for _, ip := range n.IPAddresses {
		if !ip.IsValid() || ip.Zone() != "" {
			return fmt.Errorf("IP address %q cannot be in a certificate", ip)
		}
	}
	for _, email := range n.EmailAddresses {
		if err := checkEmail(email); err != nil {
			return fmt.Errorf("email address %q %w", email, err)
		}
	}
	return nil
}

// subject decodes n.Subject.
func (n Names) subject() (pkix.RDNSequence, error) {
	var subject pkix.RDNSequence
	if len(n.Subject) == 0 {
		return nil, nil
	}
	if rest, err := asn1.Unmarshal(n.Subject, &subject); err != nil || len(rest) > 0 {
		return nil, errSubject
	}
	return subject, nil
}

// checkDNS accepts the preferred name syntax (RFC 1034, section 3.5) with
// underscores, and a wildcard as the first label.
func checkDNS(name string) error {
	if len(name) > 253 {
		return errors.New("is longer than 253 bytes")
	}
	for i, label := range strings.Split(name, ".") {
		switch {
		case label == "*" && i == 0 && strings.Contains(name, "."):
		case label == "" || len(label) > 63:
			return errors.New("has a label that is empty or longer than 63 bytes")
		case label[0] == '-' || label[len(label)-1] == '-':
			return errors.New("has a label that begins or ends with a hyphen")
		case strings.IndexFunc(label, func(r rune) bool {
			return !(r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r))) && r != '-' && r != '_'
		}) >= 0:
			return errors.New("has a character that is not a letter, a digit, a hyphen or an underscore; write an international name in its xn-- form")
		}
	}
	return nil
}

func checkURI(u *url.URL) error {
	switch text := u.String(); {
	case !u.IsAbs():
		return errors.New("has no scheme")
	case len(text) > maxName:
		return fmt.Errorf("is longer than %d bytes", maxName)
	case !isIA5(text):
		return errNotASCII
	}
	return nil
}

func checkEmail(email string) error {
	local, domain, ok := strings.Cut(email, "@")
	switch {
	case !ok || local == "" || strings.ContainsAny(local, " \t@"):
		return errors.New("is not of the form NAME@HOST")
	case len(email) > maxName:
		return fmt.Errorf("is longer than %d bytes", maxName)
	case !isIA5(email):
		return errNotASCII
	}
	return checkDNS(domain)
}

var errNotASCII = errors.New("contains a character that is not printable ASCII")

func isIA5(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}
