package pkcs11

import (
	"bytes"
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

// A digestKind has what PKCS #11 and PKCS #1 call a hash function.
type digestKind struct {
	info     []byte // DigestInfo up to the digest (RFC 8017, section 9.2, note 1)
	ckm, ckg uint   // for PSS and its mask
}

var digestKinds = map[crypto.Hash]digestKind{
	crypto.SHA224: {digestInfo(4, 28), ckmSHA224, ckgSHA224},
	crypto.SHA256: {digestInfo(1, 32), ckmSHA256, ckgSHA256},
	crypto.SHA384: {digestInfo(2, 48), ckmSHA384, ckgSHA384},
	crypto.SHA512: {digestInfo(3, 64), ckmSHA512, ckgSHA512},
}

// digestInfo is for the hash 2.16.840.1.101.3.4.2.n.
func digestInfo(n, size byte) []byte {
	return []byte{0x30, 17 + size, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, n, 5, 0, 4, size}
}

func operationFor(pub crypto.PublicKey, m signer.Mechanism, digest []byte) (operation, error) {
	kind := digestKinds[m.Hash]
	asIs := func(sig []byte) ([]byte, error) { return sig, nil }
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if m.Padding == signer.PSS {
			return operation{mechanism{ckmRSAPSS, &pssParams{kind.ckm, kind.ckg, uint(m.SaltLen)}}, digest, asIs}, nil
		}
		return operation{mechanism{kind: ckmRSA}, slices.Concat(kind.info, digest), asIs}, nil
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
// 6.3.1), into Ecdsa-Sig-Value (RFC 3279, section 2.2.3). It is written out,
// because encoding/asn1 with math/big takes a twentieth of what a software
// token needs to sign.
func derSignature(sig []byte) ([]byte, error) {
	n := len(sig) / 2
	if n == 0 || len(sig)%2 != 0 || n > maxCoordinate {
		return nil, fmt.Errorf("the module made an ECDSA signature of %d bytes", len(sig))
	}
	body := make([]byte, 0, 3+len(sig)+2*3)
	for _, v := range [][]byte{sig[:n], sig[n:]} {
		v = bytes.TrimLeft(v, "\x00")
		if len(v) == 0 || v[0] >= 0x80 {
			body = append(body, 2, byte(len(v)+1), 0)
		} else {
			body = append(body, 2, byte(len(v)))
		}
		body = append(body, v...)
	}
	if len(body) < 0x80 {
		return append([]byte{0x30, byte(len(body))}, body...), nil
	}
	return append([]byte{0x30, 0x81, byte(len(body))}, body...), nil
}

// maxCoordinate is that of P-521, in bytes.
const maxCoordinate = 66

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
	k.use.RLock()
	defer k.use.RUnlock()
	var listed []uint
	err := signer.ErrClosed
	if !k.shut { // otherwise the module is finalized
		listed, err = k.mod.mechanisms(k.current().token.slot)
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
