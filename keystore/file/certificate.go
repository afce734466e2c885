package file

import (
	"crypto/x509"
	encoding "encoding/asn1"
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
	{"curve", "it is for a key on a curve that is not supported", hintCertificateKey},
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

// unusable returns the reason why crypto/x509 refuses the certificate der.
func unusable(der cryptobyte.String, err error) error {
	if e := unusableCurve(der); e != nil {
		return e
	}
	text := err.Error()
	for _, r := range certificateReasons {
		if strings.Contains(text, r.text) {
			return &unusableError{r.reason, r.hint}
		}
	}
	return &unusableError{"it is not encoded as RFC 5280 requires", hintReissue}
}

// unusableCurve returns why crypto/x509 does not read the elliptic curve key of a
// certificate (RFC 5280, section 4.1, and RFC 5480, section 2), or nil.
func unusableCurve(der cryptobyte.String) error {
	const compressedEven, compressedOdd = 2, 3 // SEC 1, section 2.3.3
	var tbs, key, algorithm cryptobyte.String
	var oid, curve encoding.ObjectIdentifier
	var point encoding.BitString
	if !der.ReadASN1(&der, asn1.SEQUENCE) || !der.ReadASN1(&tbs, asn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) || !tbs.SkipASN1(asn1.INTEGER) {
		return nil
	}
	for range 4 { // signature algorithm, issuer, validity and subject
		if !tbs.SkipASN1(asn1.SEQUENCE) {
			return nil
		}
	}
	if !tbs.ReadASN1(&key, asn1.SEQUENCE) || !key.ReadASN1(&algorithm, asn1.SEQUENCE) || !key.ReadASN1BitString(&point) ||
		!algorithm.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(oidEC) || len(point.Bytes) == 0 {
		return nil
	}
	switch named := algorithm.ReadASN1ObjectIdentifier(&curve); {
	case !named:
		return &unusableError{"its public key specifies its curve by parameters instead of a name", "ask the CA to issue it for a key with a named curve (RFC 5480, section 2.1.1)"}
	case curves.Get(curve.String()) == nil:
		return &unusableError{"it is for a key on " + nameOf(curve) + ", which is not supported", hintCertificateKey}
	case point.Bytes[0] == compressedEven || point.Bytes[0] == compressedOdd:
		return &unusableError{"its public key is a compressed point, which is not supported", "ask the CA to issue it with the key as an uncompressed point (RFC 5480, section 2.2)"}
	}
	return nil
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
				bad = append(bad, unusable(der, err))
				continue
			}
			certs = append(certs, cert)
		}
	}
	return certs, bad
}
