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

// An operation is one signature in terms of Cryptoki.
type operation struct {
	mechanism mechanism
	input     []byte
	finish    func(sig []byte) ([]byte, error)
}

// pssHashes are what PKCS #11 calls a hash function and its mask.
var pssHashes = map[crypto.Hash]struct{ ckm, ckg uint }{
	crypto.SHA224: {ckmSHA224, ckgSHA224},
	crypto.SHA256: {ckmSHA256, ckgSHA256},
	crypto.SHA384: {ckmSHA384, ckgSHA384},
	crypto.SHA512: {ckmSHA512, ckgSHA512},
}

func operationFor(pub crypto.PublicKey, m signer.Mechanism, digest []byte) (operation, error) {
	asIs := func(sig []byte) ([]byte, error) { return sig, nil }
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if m.Padding == signer.PSS {
			kind := pssHashes[m.Hash]
			return operation{mechanism{ckmRSAPSS, &pssParams{kind.ckm, kind.ckg, uint(m.SaltLen)}}, digest, asIs}, nil
		}
		return operation{mechanism{kind: ckmRSA}, append(signer.DigestInfo(m.Hash), digest...), asIs}, nil
	case *ecdsa.PublicKey:
		return operation{mechanism{kind: ckmECDSA}, truncate(pub, digest), derSignature}, nil
	case ed25519.PublicKey:
		return operation{mechanism{kind: ckmEdDSA}, digest, asIs}, nil
	}
	return operation{}, fmt.Errorf("key of type %T: %w", pub, errors.ErrUnsupported)
}

// truncate cuts a digest to the size of the curve's order, as FIPS 186-5,
// section 6.4.1, wants and some modules do not do. The orders of the curves
// here have whole bytes, but for P-521, which no digest reaches.
func truncate(pub *ecdsa.PublicKey, digest []byte) []byte {
	return digest[:min(len(digest), (pub.Curve.Params().BitSize+7)/8)]
}

// derSignature turns r and s, one after the other (PKCS #11 v3.1, section
// 6.3.1), into Ecdsa-Sig-Value.
func derSignature(sig []byte) ([]byte, error) {
	n := len(sig) / 2
	der := signer.ECDSASignature(sig[:n], sig[n:])
	if n == 0 || len(sig)%2 != 0 || der == nil {
		return nil, fmt.Errorf("the module made an ECDSA signature of %d bytes", len(sig))
	}
	return der, nil
}

// schemes are what crypto/tls calls the signatures of a mechanism.
var schemes = map[uint][]tls.SignatureScheme{
	ckmRSAPSS: {tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512},
	ckmRSA:    {tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512},
	ckmECDSA:  {tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512},
	ckmEdDSA:  {tls.Ed25519},
}

// SignatureSchemes implements [signer.SchemeLimiter] by the mechanisms that the
// token lists. Its first call asks the token.
func (k *Key) SignatureSchemes() []tls.SignatureScheme { return k.schemes() }

func (k *Key) findSchemes() []tls.SignatureScheme {
	k.closeMu.RLock()
	defer k.closeMu.RUnlock()
	var listed []uint
	err := signer.ErrClosed
	if !k.closed { // otherwise the module is finalized
		listed, err = k.mod.mechanisms(k.conn.Load().token.slot)
	}
	var all []tls.SignatureScheme
	for _, kind := range mechanismsOf(k.pub) {
		// A token that does not answer is not held to be unable.
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
