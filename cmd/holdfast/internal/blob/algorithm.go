// Package blob implements the commands sign-blob and verify-blob: signatures of files
// that are files themselves. Within Holdfast it imports front, flags and the libraries
// keystore, selector and signer.
package blob

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// algorithms say how a key signs a file: RSA keys with PKCS #1 v1.5, and ECDSA keys
// with a signature in ASN.1 DER. A hash of 0 means that the key signs the content
// itself, without a context (RFC 8032, section 5.1; FIPS 204, algorithm 2).
var algorithms = [...]struct {
	key  string // how signer.DescribeKey begins
	hash crypto.Hash
}{
	{"RSA-", crypto.SHA256},
	{"ECDSA P-256", crypto.SHA256},
	{"ECDSA P-384", crypto.SHA384},
	{"ECDSA P-521", crypto.SHA512},
	{"Ed25519", 0},
	{"ML-DSA-", 0},
}

// minRSA is the least size of RSA keys, in bits. Signatures with shorter ones are
// disallowed since 2014 (NIST SP 800-131A revision 2, section 3).
const minRSA = 2048

var errShort = errors.New("RSA keys of fewer than 2048 bits are too weak for signatures")

func isShort(pub crypto.PublicKey) bool {
	key, ok := pub.(*rsa.PublicKey)
	return ok && key.N.BitLen() < minRSA
}

// hashFor returns the hash with which a key signs files, or 0 if it signs their
// content. The error wraps errShort or [errors.ErrUnsupported].
func hashFor(pub crypto.PublicKey) (crypto.Hash, error) {
	name := signer.DescribeKey(pub)
	if isShort(pub) {
		return 0, signer.WithHint(fmt.Errorf("the key is %s: %w", name, errShort), "files are signed with RSA keys of at least 2048 bits, or with ECDSA, Ed25519 or ML-DSA")
	}
	for _, a := range algorithms {
		if strings.HasPrefix(name, a.key) {
			return a.hash, nil
		}
	}
	return 0, signer.WithHint(fmt.Errorf("the key is %s: %w", name, errors.ErrUnsupported),
		"files are signed with RSA, with ECDSA on P-256, P-384 or P-521, with Ed25519 or with ML-DSA")
}
