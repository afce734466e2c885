package winstore

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// hashes are the names and numbers of what both APIs can sign.
var hashes = map[crypto.Hash]struct {
	name  string // BCRYPT_SHA256_ALGORITHM
	calgo uint32 // CALG_SHA_256
}{
	crypto.SHA256: {"SHA256", 0x800c},
	crypto.SHA384: {"SHA384", 0x800d},
	crypto.SHA512: {"SHA512", 0x800e},
}

// sign is called with k.mu held.
func (k *Key) sign(m signer.Mechanism, digest []byte) ([]byte, error) {
	hash, ok := hashes[m.Hash]
	if !ok {
		return nil, fmt.Errorf("hash %v: %w", m.Hash, errors.ErrUnsupported)
	}
	switch pub := k.pub.(type) {
	case *ecdsa.PublicKey:
		if !k.key.isCNG() {
			break
		}
		size := coordinateSize(pub)
		sig, err := k.sys.signDigest(k.key.handle, padding{}, digest[:min(len(digest), size)], 2*size, k.quiet)
		if err != nil {
			return nil, err
		}
		return derSignature(sig, size)
	case *rsa.PublicKey:
		var sig []byte
		var err error
		switch {
		case k.key.isCNG():
			pad := padding{kind: padPKCS1, hash: hash.name}
			if m.Padding == signer.PSS {
				pad.kind, pad.salt = padPSS, uint32(m.SaltLen)
			}
			sig, err = k.sys.signDigest(k.key.handle, pad, digest, pub.Size(), k.quiet)
		case m.Padding == signer.PSS:
			return nil, signer.WithHint(fmt.Errorf("PSS with a key of CryptoAPI: %w", errors.ErrUnsupported),
				"make the key with a key storage provider (CNG); certreq calls it ProviderName")
		default:
			sig, err = k.sys.signHash(k.key.handle, k.key.spec, hash.calgo, digest, pub.Size())
			slices.Reverse(sig)
		}
		if err == nil && len(sig) != pub.Size() {
			err = fmt.Errorf("signature has %d bytes instead of %d", len(sig), pub.Size())
		}
		return sig, err
	}
	return nil, fmt.Errorf("%s with this provider: %w", signer.DescribeKey(k.pub), errors.ErrUnsupported)
}

func coordinateSize(pub *ecdsa.PublicKey) int { return (pub.Curve.Params().BitSize + 7) / 8 }

// derSignature turns r and s, one after the other, into Ecdsa-Sig-Value
// (RFC 3279, section 2.2.3).
func derSignature(sig []byte, size int) ([]byte, error) {
	if len(sig) != 2*size {
		return nil, fmt.Errorf("signature has %d bytes instead of %d", len(sig), 2*size)
	}
	body := make([]byte, 0, len(sig)+2*3)
	for _, v := range [][]byte{sig[:size], sig[size:]} {
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

func verify(pub crypto.PublicKey, m signer.Mechanism, digest, sig []byte) error {
	ok := false
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(pub, digest, sig)
	case *rsa.PublicKey:
		if m.Padding == signer.PSS {
			ok = rsa.VerifyPSS(pub, m.Hash, digest, sig, &rsa.PSSOptions{SaltLength: m.SaltLen}) == nil
		} else {
			ok = rsa.VerifyPKCS1v15(pub, m.Hash, digest, sig) == nil
		}
	}
	if !ok {
		return signer.WithHint(fmt.Errorf("%w: what Windows signed does not verify with it", signer.ErrMismatch),
			"link the certificate with its key again: certutil -repairstore MY SERIAL")
	}
	return nil
}

// curves are those of CNG that Roles Anywhere and TLS know.
var curves = []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}

var (
	pssSchemes   = []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}
	pkcs1Schemes = []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}
	ecdsaSchemes = []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512}
)

// schemesFor is what sign can do.
func schemesFor(pub crypto.PublicKey, cng bool) []tls.SignatureScheme {
	_, isRSA := pub.(*rsa.PublicKey)
	switch {
	case isRSA && cng:
		return slices.Concat(pssSchemes, pkcs1Schemes)
	case isRSA:
		return slices.Clone(pkcs1Schemes)
	case cng:
		return slices.Clone(ecdsaSchemes)
	}
	return nil
}
