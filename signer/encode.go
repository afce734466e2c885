package signer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
)

// What backends have in common, whose devices sign with bare algorithms.

// DigestInfo returns what stands before a digest in a signature of PKCS #1 v1.5
// (RFC 8017, section 9.2, note 1), or nil for a hash other than those of SHA-2.
func DigestInfo(hash crypto.Hash) []byte {
	n, ok := map[crypto.Hash]byte{crypto.SHA224: 4, crypto.SHA256: 1, crypto.SHA384: 2, crypto.SHA512: 3}[hash]
	if !ok {
		return nil
	}
	size := byte(hash.Size())
	// The hash is 2.16.840.1.101.3.4.2.n.
	return []byte{0x30, 17 + size, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, n, 5, 0, 4, size}
}

// ECDSASignature returns Ecdsa-Sig-Value (RFC 3279, section 2.2.3) of r and s,
// unsigned and big-endian, of at most 66 bytes each (P-521); nil if they are
// longer. It is written out, because encoding/asn1 with math/big takes a
// twentieth of what a software token needs to sign.
func ECDSASignature(r, s []byte) []byte {
	const coordinate = 66
	if len(r) > coordinate || len(s) > coordinate {
		return nil
	}
	body := make([]byte, 0, 3+2*(coordinate+3))
	for _, v := range [][]byte{r, s} {
		v = bytes.TrimLeft(v, "\x00")
		if len(v) == 0 || v[0] >= 0x80 {
			body = append(body, 2, byte(len(v)+1), 0)
		} else {
			body = append(body, 2, byte(len(v)))
		}
		body = append(body, v...)
	}
	if len(body) < 0x80 {
		return append([]byte{0x30, byte(len(body))}, body...)
	}
	return append([]byte{0x30, 0x81, byte(len(body))}, body...)
}

// Verifies reports whether sig is a signature over digest that pub's key made
// as m says.
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
	return false
}
