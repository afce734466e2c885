package winstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// hashes are the hash algorithms that both APIs support, with their CNG names
// and CryptoAPI numbers.
var hashes = lookup.Table[crypto.Hash, struct {
	name  string // BCRYPT_SHA256_ALGORITHM
	calgo uint32 // CALG_SHA_256
}]{
	{crypto.SHA256, struct {
		name  string // BCRYPT_SHA256_ALGORITHM
		calgo uint32 // CALG_SHA_256
	}{"SHA256", 0x800c}},
	{crypto.SHA384, struct {
		name  string // BCRYPT_SHA256_ALGORITHM
		calgo uint32 // CALG_SHA_256
	}{"SHA384", 0x800d}},
	{crypto.SHA512, struct {
		name  string // BCRYPT_SHA256_ALGORITHM
		calgo uint32 // CALG_SHA_256
	}{"SHA512", 0x800e}},
}

// sign signs a digest. The caller holds k.mu.
func (k *Key) sign(m signer.Mechanism, digest []byte) ([]byte, error) {
	hash, ok := hashes.Find(m.Hash)
	if !ok {
		return nil, fmt.Errorf("hash %v: %w", m.Hash, errors.ErrUnsupported)
	}
	switch pub := k.pub.(type) {
	case *ecdsa.PublicKey:
		if !k.key.isCNG() {
			break
		}
		size := coordinateSize(pub)
		sig, err := k.sys.signDigest(k.key.handle, padding{}, digest[:min(len(digest), size)], 2*size, k.silentFlag)
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
			sig, err = k.sys.signDigest(k.key.handle, pad, digest, pub.Size(), k.silentFlag)
		case m.Padding == signer.PSS:
			return nil, signer.WithHint(fmt.Errorf("PSS with a CryptoAPI key: %w", errors.ErrUnsupported),
				"create the key with a CNG key storage provider (ProviderName in the file for certreq)")
		default:
			sig, err = k.sys.signHash(k.key.handle, k.key.spec, hash.calgo, digest, pub.Size())
			slices.Reverse(sig)
		}
		if err == nil && len(sig) != pub.Size() {
			err = fmt.Errorf("signature has %d bytes instead of %d", len(sig), pub.Size())
		}
		return sig, err
	}
	return nil, fmt.Errorf("%s with a CryptoAPI key: %w", signer.DescribeKey(k.pub), errors.ErrUnsupported)
}

func coordinateSize(pub *ecdsa.PublicKey) int { return (pub.Curve.Params().BitSize + 7) / 8 }

// derSignature encodes r and s, which sig contains one after the other, as an
// Ecdsa-Sig-Value (RFC 3279, section 2.2.3).
func derSignature(sig []byte, size int) ([]byte, error) {
	if len(sig) != 2*size {
		return nil, fmt.Errorf("signature has %d bytes instead of %d", len(sig), 2*size)
	}
	return signer.ECDSASignature(sig[:size], sig[size:]), nil
}

// mismatchHint is the hint if a certificate is linked to another key.
const mismatchHint = "link the certificate to its key again: certutil -user -repairstore MY SERIAL (without -user for the store of the machine)"

// curves are the CNG curves that Roles Anywhere and TLS support.
func curves() []elliptic.Curve {
	return []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}
}

var (
	pssSchemes   = []tls.SignatureScheme{tls.PSSWithSHA256, tls.PSSWithSHA384, tls.PSSWithSHA512}
	pkcs1Schemes = []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}
	ecdsaSchemes = []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.ECDSAWithP521AndSHA512}
)

// schemesFor returns the signature schemes that sign supports.
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
