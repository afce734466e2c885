package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
)

// This file holds encodings shared by backends whose devices implement only the
// raw signature algorithms.

// sha2 holds the last arc of each hash's object identifier,
// 2.16.840.1.101.3.4.2.n (RFC 8017, appendix B.1).
var sha2 = [...]byte{crypto.SHA224: 4, crypto.SHA256: 1, crypto.SHA384: 2, crypto.SHA512: 3}

// DigestInfo returns the DER prefix that precedes a digest in a PKCS #1 v1.5
// signature (RFC 8017, section 9.2, note 1). It returns nil unless hash is
// SHA-224, SHA-256, SHA-384 or SHA-512.
func DigestInfo(hash crypto.Hash) []byte {
	if !isSHA2(hash) {
		return nil
	}
	n, size := sha2[hash], byte(hash.Size())
	return []byte{0x30, 17 + size, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, n, 5, 0, 4, size}
}

func isSHA2(hash crypto.Hash) bool { return hash < crypto.Hash(len(sha2)) && sha2[hash] != 0 }

// ECDSASignature encodes r and s as Ecdsa-Sig-Value (RFC 3279, section 2.2.3).
// r and s are unsigned and big-endian. It returns nil if either is longer than
// 66 bytes (P-521). It encodes by hand because encoding/asn1 with math/big
// costs about 5 % of the time that a software token needs to sign.
func ECDSASignature(r, s []byte) []byte {
	const coordinate, header = 66, 3
	if len(r) > coordinate || len(s) > coordinate {
		return nil
	}
	der := make([]byte, header, header+2*(coordinate+3))
	for _, v := range [][]byte{r, s} {
		for len(v) > 0 && v[0] == 0 {
			v = v[1:]
		}
		if len(v) == 0 || v[0] >= 0x80 {
			der = append(der, 2, byte(len(v)+1), 0)
		} else {
			der = append(der, 2, byte(len(v)))
		}
		der = append(der, v...)
	}
	n := byte(len(der) - header)
	if n < 0x80 {
		der[1], der[2] = 0x30, n
		return der[1:]
	}
	der[0], der[1], der[2] = 0x30, 0x81, n
	return der
}

// Verifies reports whether sig is a valid signature over digest by the key of
// pub with the mechanism m. For Ed25519 and ML-DSA, digest is the message itself.
func Verifies(pub crypto.PublicKey, m Mechanism, digest, sig []byte) bool {
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, digest, sig)
	case ed25519.PublicKey:
		return ed25519.Verify(pub, digest, sig)
	case *rsa.PublicKey:
		if m.Padding == PSS {
			return rsa.VerifyPSS(pub, m.Hash, digest, sig, &rsa.PSSOptions{SaltLength: m.SaltLen}) == nil
		}
		return rsa.VerifyPKCS1v15(pub, m.Hash, digest, sig) == nil
	}
	key := mldsa.Of(pub)
	return key != nil && key.Verify(digest, sig)
}
