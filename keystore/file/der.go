package file

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// derForms tells the forms of a DER file apart by the tags at its start.
// They are tried in order.
var derForms = []struct {
	matches func(der []byte) bool
	add     func(*contents, []byte)
}{
	// PFX ::= SEQUENCE { version INTEGER {v3(3)}, authSafe ContentInfo, … } (RFC 7292, section 4)
	{begins(asn1.INTEGER, 3), func(c *contents, der []byte) { c.pfx = der }},
	// ECPrivateKey ::= SEQUENCE { version INTEGER {1}, privateKey OCTET STRING, … } (RFC 5915, section 3)
	{begins(asn1.INTEGER, 1, asn1.OCTET_STRING), addKey(parseSEC1)},
	// RSAPrivateKey ::= SEQUENCE { version, modulus INTEGER, … } (RFC 8017, appendix A.1.2)
	{begins(asn1.INTEGER, 0, asn1.INTEGER), addKey(parsePKCS1)},
	// PrivateKeyInfo ::= SEQUENCE { version, AlgorithmIdentifier, OCTET STRING, … } (RFC 5958, section 2)
	{begins(asn1.INTEGER, 0, asn1.SEQUENCE, asn1.OCTET_STRING), addKey(parsePKCS8)},
	{begins(asn1.INTEGER, 1, asn1.SEQUENCE, asn1.OCTET_STRING), addKey(parsePKCS8)},
	// EncryptedPrivateKeyInfo ::= SEQUENCE { AlgorithmIdentifier, OCTET STRING } (RFC 5958, section 3)
	{begins(asn1.SEQUENCE, -1, asn1.OCTET_STRING), addKey(parseEncryptedPKCS8)},
	// Certificate ::= SEQUENCE { SEQUENCE, AlgorithmIdentifier, BIT STRING } (RFC 5280, section 4.1)
	{begins(asn1.SEQUENCE, -1, asn1.SEQUENCE, asn1.BIT_STRING), addCertificate},
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
