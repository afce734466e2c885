// Package thumbprint computes the SHA-1 hash by which Windows, macOS and
// aws_signing_helper name a certificate.
package thumbprint

import (
	"crypto/fips140"
	"crypto/sha1"
)

// SHA1 returns the hash of a certificate in DER. It works in FIPS mode, because nothing
// depends on its security: it selects one of the certificates of a store.
func SHA1(der []byte) (sum [sha1.Size]byte) {
	fips140.WithoutEnforcement(func() { sum = sha1.Sum(der) })
	return sum
}
