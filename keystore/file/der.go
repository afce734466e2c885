package file

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/holdfast-dev/holdfast/signer"
)

type keyForm struct {
	matches func(der []byte) bool
	parse   func([]byte, passwordFunc) (any, error)
}

// keyForms tells the forms of a private key apart by the tags at its start. The
// type of a PEM block is not relied on, because programs mix them up.
var keyForms = []keyForm{
	// ECPrivateKey ::= SEQUENCE { version INTEGER {1}, privateKey OCTET STRING, … } (RFC 5915, section 3)
	{begins(asn1.INTEGER, 1, asn1.OCTET_STRING), plain(x509.ParseECPrivateKey)},
	// RSAPrivateKey ::= SEQUENCE { version, modulus INTEGER, … } (RFC 8017, appendix A.1.2)
	{begins(asn1.INTEGER, 0, asn1.INTEGER), plain(x509.ParsePKCS1PrivateKey)},
	// PrivateKeyInfo ::= SEQUENCE { version, AlgorithmIdentifier, OCTET STRING, … } (RFC 5958, section 2)
	{isPKCS8, parsePKCS8},
	// EncryptedPrivateKeyInfo ::= SEQUENCE { AlgorithmIdentifier, OCTET STRING } (RFC 5958, section 3)
	{begins(asn1.SEQUENCE, -1, asn1.OCTET_STRING), parseEncryptedPKCS8},
}

var parsePKCS8 = plain(x509.ParsePKCS8PrivateKey)

func isPKCS8(der []byte) bool {
	return begins(asn1.INTEGER, 0, asn1.SEQUENCE, asn1.OCTET_STRING)(der) ||
		begins(asn1.INTEGER, 1, asn1.SEQUENCE, asn1.OCTET_STRING)(der)
}

// addDER finds out by structure what a DER file is.
func (c *contents) addDER(der []byte) error {
	switch {
	case bytes.HasPrefix(der, []byte{0x30, 0x80}):
		return signer.WithHint(fmt.Errorf("is BER with indefinite lengths: %w", errors.ErrUnsupported),
			"if it is PKCS #12, rewrite it with: openssl pkcs12 -in FILE -out all.pem, then openssl pkcs12 -export -in all.pem -out new.p12")
	// PFX ::= SEQUENCE { version INTEGER {v3(3)}, authSafe ContentInfo, … } (RFC 7292, section 4)
	case begins(asn1.INTEGER, 3)(der):
		c.pfx = der
	// Certificate ::= SEQUENCE { SEQUENCE, AlgorithmIdentifier, BIT STRING } (RFC 5280, section 4.1)
	case begins(asn1.SEQUENCE, -1, asn1.SEQUENCE, asn1.BIT_STRING)(der):
		addCertificate(c, der)
	case slices.ContainsFunc(keyForms, func(f keyForm) bool { return f.matches(der) }):
		addKey(c, der)
	default:
		return signer.WithHint(errors.New("is DER, but neither a key nor a certificate nor PKCS #12"), copyAgain)
	}
	return nil
}

// begins matches a SEQUENCE whose first element has the tag first, for an
// INTEGER also the value, and whose further elements begin with the tags rest.
func begins(first asn1.Tag, value int, rest ...asn1.Tag) func([]byte) bool {
	return func(der []byte) bool {
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
		for _, tag := range rest {
			if !seq.ReadASN1(&element, tag) {
				return false
			}
		}
		return true
	}
}
