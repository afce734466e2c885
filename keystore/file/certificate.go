package file

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/holdfast-dev/holdfast/signer"
)

// An unusableError is for a certificate that is there, but cannot be used. It
// is both signer.ErrNoCertificate and errors.ErrUnsupported, so that one beside
// others can be left out.
type unusableError struct{ reason, hint string }

func (e *unusableError) Error() string { return "certificate: " + e.reason }
func (e *unusableError) Hint() string  { return e.hint }
func (e *unusableError) Unwrap() []error {
	return []error{signer.ErrNoCertificate, errors.ErrUnsupported}
}

// certificateReasons has the reasons why crypto/x509 refuses a certificate, by a
// part of the text of its error.
var certificateReasons = []struct{ text, reason, hint string }{
	{"negative serial", "it has a negative serial number, which RFC 5280 forbids", hintReissue},
	{"serial number", "it has an invalid serial number", hintReissue},
	{"elliptic curve", "it is for a key on a curve that is not supported", hintCertificateKey},
	{"ECDSA", "it is for a key on a curve that is not supported", hintCertificateKey},
	{"RSA", "it has a damaged RSA public key", hintReissue},
	{"DSA", "it is for a DSA key, which is not supported", hintCertificateKey},
	{"version", "it has an invalid version", hintReissue},
	{"duplicate extension", "it contains an extension twice, which RFC 5280 forbids", hintReissue},
	{"String", "it has a name with a character that its string type forbids (RFC 5280, section 4.1.2.4)", hintReissue},
	{"time", "it has an invalid date", hintReissue},
	{"validity", "it has an invalid date", hintReissue},
}

const (
	hintReissue        = "show the certificate with openssl x509 -in FILE -noout -text; ask the CA to issue it again"
	hintCertificateKey = "show the certificate with openssl x509 -in FILE -noout -text; its key must be RSA, or ECDSA on P-256, P-384 or P-521"
)

func unusable(err error) error {
	text := err.Error()
	for _, r := range certificateReasons {
		if strings.Contains(text, r.text) {
			return &unusableError{r.reason, r.hint}
		}
	}
	return &unusableError{"it is not encoded as RFC 5280 requires", hintReissue}
}

// parseCertificates returns the certificates in parts, each of which has one or
// more. Those that it cannot parse are added to the parts that are not used. If
// nothing else is left, the reason is the error.
func (c *contents) parseCertificates(parts [][]byte) ([]*x509.Certificate, error) {
	certs, bad := parseCertificates(parts)
	c.ignored = append(c.ignored, bad...)
	if len(certs) == 0 && len(bad) > 0 {
		return nil, bad[0]
	}
	return certs, nil
}

// parseCertificates returns the certificates that it can parse, and an error for
// each other part.
func parseCertificates(parts [][]byte) (certs []*x509.Certificate, bad []error) {
	for _, part := range parts {
		found := 0
		for in := cryptobyte.String(part); len(trimLineEnd(in)) > 0; found++ {
			rest := len(in)
			var der cryptobyte.String
			if !in.ReadASN1Element(&der, asn1.SEQUENCE) {
				if found > 0 {
					bad = append(bad, fmt.Errorf("%d bytes follow the certificate", rest))
				} else {
					bad = append(bad, signer.WithHint(errors.New("certificate: it is damaged or not DER"), hintDamaged))
				}
				break
			}
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				bad = append(bad, unusable(err))
				continue
			}
			certs = append(certs, cert)
		}
	}
	return certs, bad
}
