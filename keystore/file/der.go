package file

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/holdfast-dev/holdfast/signer"
)

// A keyFormat is an encoding of a private key.
type keyFormat struct {
	matches func(der []byte) bool
	parse   func(der []byte) (crypto.Signer, error) // nil: parseEncryptedPKCS8
}

// keyFormats distinguishes the formats of a private key by the tags at its
// start, and not by the type of the PEM block, which some programs get wrong.
var keyFormats = []keyFormat{
	{isSEC1, parseSEC1},
	{isRSA, parseRSA},
	{isPKCS8, parsePKCS8},
	{isEncrypted, nil},
}

// isSEC1 matches
// ECPrivateKey ::= SEQUENCE { version INTEGER {1}, privateKey OCTET STRING, … } (RFC 5915, section 3).
func isSEC1(der []byte) bool { return isSequence(der, asn1.INTEGER, 1, asn1.OCTET_STRING) }

// isRSA matches
// RSAPrivateKey ::= SEQUENCE { version, modulus INTEGER, publicExponent INTEGER, … } (RFC 8017, appendix A.1.2).
func isRSA(der []byte) bool {
	return isSequence(der, asn1.INTEGER, 0, asn1.INTEGER, asn1.INTEGER, asn1.INTEGER) ||
		isSequence(der, asn1.INTEGER, 1, asn1.INTEGER, asn1.INTEGER, asn1.INTEGER) // more than two primes
}

// isPKCS8 matches
// PrivateKeyInfo ::= SEQUENCE { version, AlgorithmIdentifier, OCTET STRING, … } (RFC 5958, section 2).
func isPKCS8(der []byte) bool {
	return isSequence(der, asn1.INTEGER, 0, asn1.SEQUENCE, asn1.OCTET_STRING) ||
		isSequence(der, asn1.INTEGER, 1, asn1.SEQUENCE, asn1.OCTET_STRING)
}

// isEncrypted matches
// EncryptedPrivateKeyInfo ::= SEQUENCE { AlgorithmIdentifier, OCTET STRING } (RFC 5958, section 3).
func isEncrypted(der []byte) bool { return isSequence(der, asn1.SEQUENCE, -1, asn1.OCTET_STRING) }

// isPFX matches
// PFX ::= SEQUENCE { version INTEGER {v3(3)}, authSafe ContentInfo, … } (RFC 7292, section 4).
func isPFX(der []byte) bool { return isSequence(der, asn1.INTEGER, 3, asn1.SEQUENCE) }

// isContentInfo matches
// ContentInfo ::= SEQUENCE { contentType OBJECT IDENTIFIER, … } (RFC 5652, section 3).
func isContentInfo(der []byte) bool { return isSequence(der, asn1.OBJECT_IDENTIFIER, -1) }

// isSigned matches
// Certificate ::= SEQUENCE { SEQUENCE, AlgorithmIdentifier, BIT STRING } (RFC 5280, section 4.1).
func isSigned(der []byte) bool {
	return isSequence(der, asn1.SEQUENCE, -1, asn1.SEQUENCE, asn1.BIT_STRING)
}

func isKey(der []byte) bool {
	return slices.ContainsFunc(keyFormats, func(f keyFormat) bool { return f.matches(der) })
}

// addPFX adds a PKCS #12 file. OpenSSL ignores the bytes after it.
func (c *contents) addPFX(data, rest []byte) {
	c.pfx = data
	if n := len(rest); len(trimLineEnd(rest)) > 0 {
		c.ignored = append(c.ignored, fmt.Errorf("%d bytes follow PKCS #12", n))
	}
}

// addDER adds a DER or BER file. It recognizes the format by the structure.
func (c *contents) addDER(data []byte) error {
	der, rest, err := toDER(data)
	if err != nil {
		return signer.WithHint(errors.New("is damaged or truncated DER"), hintDamaged)
	}
	switch {
	case isPFX(der):
		c.addPFX(data, rest)
	case isContentInfo(der):
		return signer.WithHint(unsupported("is PKCS #7, which is not supported"),
			"convert it with: openssl pkcs7 -inform DER -in FILE -print_certs -out FILE.converted.pem")
	case isSigned(der):
		return c.addSigned(data)
	// SubjectPublicKeyInfo ::= SEQUENCE { AlgorithmIdentifier, BIT STRING } (RFC 5280, section 4.1)
	case isSequence(der, asn1.SEQUENCE, -1, asn1.BIT_STRING):
		return signer.WithHint(&fileError{"is a public key", &signer.ErrNotFound}, "give the private key's file with Identity.Key")
	case isKey(der):
		if len(trimLineEnd(rest)) > 0 {
			return signer.WithHint(fmt.Errorf("has %d bytes after the private key", len(rest)), hintDamaged)
		}
		addKey(c, data)
	default:
		return signer.WithHint(errors.New("is DER, but not a private key, a certificate or PKCS #12"), hintDamaged)
	}
	return nil
}

// addSigned adds certificates. A request and a CRL have the same structure.
func (c *contents) addSigned(data []byte) error {
	if _, err := x509.ParseCertificateRequest(data); err == nil {
		return signer.WithHint(unsupported("is a certificate request, not a certificate"), pemHints.Get("CERTIFICATE REQUEST"))
	}
	if _, err := x509.ParseRevocationList(data); err == nil {
		return signer.WithHint(&fileError{"is a CRL, not a certificate", &signer.ErrNoCertificate}, "give the certificate's file with Identity.Certificate")
	}
	addCertificate(c, data)
	return nil
}

// isSequence reports whether der begins with a SEQUENCE whose first elements have the
// given tags. If the first one is an INTEGER, it must have the given value. More elements
// can follow.
func isSequence(der []byte, first asn1.Tag, value int, following ...asn1.Tag) bool {
	in := cryptobyte.String(der)
	var seq, element cryptobyte.String
	if !in.ReadASN1(&seq, asn1.SEQUENCE) {
		return false
	}
	if first == asn1.INTEGER {
		var v int
		if !seq.ReadASN1Integer(&v) || v != value {
			return false
		}
	} else if !seq.ReadASN1(&element, first) {
		return false
	}
	for _, tag := range following {
		if !seq.ReadASN1(&element, tag) {
			return false
		}
	}
	return true
}
