package pkcs11

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// An operation is a signature in terms of Cryptoki: mechanism and input of
// C_Sign. finish converts its output.
type operation struct {
	mechanism mechanism
	input     []byte
	finish    func(sig []byte) ([]byte, error)
}

// pssHashes maps hash functions to CKM_ and CKG_ values for PSS.
var pssHashes = map[crypto.Hash]struct{ ckm, ckg uint }{
	crypto.SHA224: {ckmSHA224, ckgSHA224},
	crypto.SHA256: {ckmSHA256, ckgSHA256},
	crypto.SHA384: {ckmSHA384, ckgSHA384},
	crypto.SHA512: {ckmSHA512, ckgSHA512},
}

func operationFor(pub crypto.PublicKey, m signer.Mechanism, digest []byte) (operation, error) {
	unchanged := func(sig []byte) ([]byte, error) { return sig, nil }
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if m.Padding == signer.PSS {
			kind := pssHashes[m.Hash]
			return operation{mechanism{ckmRSAPSS, &pssParams{kind.ckm, kind.ckg, uint(m.SaltLen)}}, digest, unchanged}, nil
		}
		return operation{mechanism{kind: ckmRSA}, append(signer.DigestInfo(m.Hash), digest...), unchanged}, nil
	case *ecdsa.PublicKey:
		return operation{mechanism{kind: ckmECDSA}, truncate(pub, digest), derSignature}, nil
	case ed25519.PublicKey:
		return operation{mechanism{kind: ckmEdDSA}, digest, unchanged}, nil
	}
	return operation{}, fmt.Errorf("public key type %T: %w", pub, errors.ErrUnsupported)
}

// truncate shortens a digest to the size of the curve's order (FIPS 186-5,
// section 6.4.1), because some modules do not. It works on whole bytes: the
// order of P-521 is not a whole number of bytes, but is longer than any digest.
func truncate(pub *ecdsa.PublicKey, digest []byte) []byte {
	return digest[:min(len(digest), (pub.Curve.Params().BitSize+7)/8)]
}

// derSignature converts the concatenation of r and s (PKCS #11 v3.1, section
// 6.3.1) to an ECDSA-Sig-Value.
func derSignature(sig []byte) ([]byte, error) {
	n := len(sig) / 2
	der := signer.ECDSASignature(sig[:n], sig[n:])
	if n == 0 || len(sig)%2 != 0 || der == nil {
		return nil, fmt.Errorf("the module returned a malformed ECDSA signature of %d bytes", len(sig))
	}
	return der, nil
}

// schemes maps mechanisms to the signature schemes of crypto/tls.
var schemes = map[uint][]tls.SignatureScheme{
	ckmRSAPSS: {tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512},
	ckmRSA:    {tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512},
	ckmECDSA:  {tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512},
	ckmEdDSA:  {tls.Ed25519},
}

// SignatureSchemes implements [signer.SchemeLimiter] with the mechanisms that
// the token lists. The first call reads them.
func (k *Key) SignatureSchemes() []tls.SignatureScheme { return k.schemes() }

func (k *Key) findSchemes() []tls.SignatureScheme {
	k.closeMu.RLock()
	defer k.closeMu.RUnlock()
	var listed []uint
	err := signer.ErrClosed
	if !k.closed { // after Close the module may be finalized
		listed, err = k.mod.mechanisms(k.conn.Load().token.slot)
	}
	var all []tls.SignatureScheme
	for _, kind := range mechanismsOf(k.pub) {
		// If the token does not answer, assume that it supports all of them.
		if err != nil || slices.Contains(listed, kind) {
			all = append(all, schemes[kind]...)
		}
	}
	return all
}

func mechanismsOf(pub crypto.PublicKey) []uint {
	switch pub.(type) {
	case *rsa.PublicKey:
		return []uint{ckmRSAPSS, ckmRSA}
	case *ecdsa.PublicKey:
		return []uint{ckmECDSA}
	}
	return []uint{ckmEdDSA}
}
