package signertest

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"
)

// Attestation returns a certificate for key like the attestation certificate of a
// YubiKey: with Yubico's extensions, a far expiry, and an issuer of its own.
func Attestation(tb testing.TB, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	return NewCA(tb, "Yubico PIV Attestation").Issue(tb, key, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "YubiKey PIV Attestation 9a"}
		c.NotAfter = c.NotBefore.AddDate(40, 0, 0)
		for arc, value := range map[int]string{3: "\x05\x04\x03", 7: "\x02\x03\x01\x02\x03", 8: "\x02\x01"} {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{
				Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 41482, 3, arc}, Value: []byte(value),
			})
		}
	})
}
