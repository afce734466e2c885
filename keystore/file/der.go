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

// A keyFormat is an encoding of a private key.
type keyFormat struct {
	matches func(der []byte) bool
	parse   func([]byte, passwordFunc) (any, error)
}

// keyFormats distinguishes the formats of a private key by the tags at its
// start, and not by the type of the PEM block, which some programs get wrong.
var keyFormats = []keyFormat{
	// ECPrivateKey ::= SEQUENCE { version INTEGER {1}, privateKey OCTET STRING, … } (RFC 5915, section 3)
	{sequenceWith(asn1.INTEGER, 1, asn1.OCTET_STRING), unencrypted(x509.ParseECPrivateKey)},
	// RSAPrivateKey ::= SEQUENCE { version, modulus INTEGER, … } (RFC 8017, appendix A.1.2)
	{sequenceWith(asn1.INTEGER, 0, asn1.INTEGER), unencrypted(x509.ParsePKCS1PrivateKey)},
	// PrivateKeyInfo ::= SEQUENCE { version, AlgorithmIdentifier, OCTET STRING, … } (RFC 5958, section 2)
	{isPKCS8, parsePKCS8},
	// EncryptedPrivateKeyInfo ::= SEQUENCE { AlgorithmIdentifier, OCTET STRING } (RFC 5958, section 3)
	{sequenceWith(asn1.SEQUENCE, -1, asn1.OCTET_STRING), parseEncryptedPKCS8},
}

var parsePKCS8 = unencrypted(x509.ParsePKCS8PrivateKey)

func isPKCS8(der []byte) bool {
	return sequenceWith(asn1.INTEGER, 0, asn1.SEQUENCE, asn1.OCTET_STRING)(der) ||
		sequenceWith(asn1.INTEGER, 1, asn1.SEQUENCE, asn1.OCTET_STRING)(der)
}

// addDER adds a DER file. It recognizes the format by the structure.
func (c *contents) addDER(der []byte) error {
	switch {
	case bytes.HasPrefix(der, []byte{0x30, 0x80}):
		return signer.WithHint(fmt.Errorf("is BER with indefinite lengths: %w", errors.ErrUnsupported),
			"if it is PKCS #12, convert it with: openssl pkcs12 -in FILE -out all.pem && openssl pkcs12 -export -in all.pem -out new.p12")
	// PFX ::= SEQUENCE { version INTEGER {v3(3)}, authSafe ContentInfo, … } (RFC 7292, section 4)
	case sequenceWith(asn1.INTEGER, 3)(der):
		c.pfx = der
	// Certificate ::= SEQUENCE { SEQUENCE, AlgorithmIdentifier, BIT STRING } (RFC 5280, section 4.1)
	case sequenceWith(asn1.SEQUENCE, -1, asn1.SEQUENCE, asn1.BIT_STRING)(der):
		addCertificate(c, der)
	case slices.ContainsFunc(keyFormats, func(f keyFormat) bool { return f.matches(der) }):
		addKey(c, der)
	default:
		return signer.WithHint(errors.New("is DER, but not a private key, a certificate or PKCS #12"), hintDamaged)
	}
	return nil
}

// sequenceWith returns a function that matches a SEQUENCE whose first elements
// have the given tags. If the first one is an INTEGER, it must have the given
// value. More elements can follow.
func sequenceWith(first asn1.Tag, value int, following ...asn1.Tag) func([]byte) bool {
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
		for _, tag := range following {
			if !seq.ReadASN1(&element, tag) {
				return false
			}
		}
		return true
	}
}
