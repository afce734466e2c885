package sshwire

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// An Algorithm is a signature algorithm of a key.
type Algorithm struct {
	Name  string
	Hash  crypto.Hash // of the message; 0 for Ed25519, which signs the message itself
	Flags uint32      // of a SignRequest for this algorithm
}

// Algorithms returns the signature algorithms of a key, the most common first: RSA
// signatures with PKCS #1 v1.5 and SHA-256 or SHA-512 (RFC 8332), and one algorithm for
// a key of another type. SHA-1 is not among them. The list is empty for a key that SSH
// has no type for. The caller owns it.
func Algorithms(pub crypto.PublicKey) []Algorithm {
	switch name := TypeOf(pub); name {
	case RSA:
		return []Algorithm{
			{"rsa-sha2-256", crypto.SHA256, FlagRSASHA256},
			{"rsa-sha2-512", crypto.SHA512, FlagRSASHA512},
		}
	case P256:
		return []Algorithm{{name, crypto.SHA256, 0}}
	case P384:
		return []Algorithm{{name, crypto.SHA384, 0}}
	case P521:
		return []Algorithm{{name, crypto.SHA512, 0}}
	case Ed25519:
		return []Algorithm{{name, 0, 0}}
	}
	return nil
}

// MarshalSignature returns the blob of a signature in the form of [crypto.Signer]: DER
// for ECDSA, and as long as the modulus for RSA. It does not verify it.
func MarshalSignature(pub crypto.PublicKey, algorithm string, signature []byte) ([]byte, error) {
	contents := signature
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if len(signature) != pub.Size() {
			return nil, fmt.Errorf("RSA signature has %d bytes; the modulus has %d", len(signature), pub.Size())
		}
	case *ecdsa.PublicKey:
		var s ecdsaSignature
		if rest, err := asn1.Unmarshal(signature, &s); err != nil || len(rest) != 0 {
			return nil, errors.New("ECDSA signature is not DER")
		}
		if err := s.check(pub); err != nil {
			return nil, err
		}
		var b Builder
		b.Mpint(s.R)
		b.Mpint(s.S)
		contents = b.data
	case ed25519.PublicKey:
		if len(signature) != ed25519.SignatureSize {
			return nil, errEd25519Signature
		}
	default:
		return nil, fmt.Errorf("SSH has no encoding for a signature of a key of type %T: %w", pub, errors.ErrUnsupported)
	}
	var b Builder
	b.Text(algorithm)
	b.Bytes(contents)
	return b.data, nil
}

// ParseSignature decodes the blob of a signature of the key pub. The signature is in
// the form of [crypto.Signer]; see [MarshalSignature]. Neither the algorithm, which can
// be any text, nor the signature is verified.
func ParseSignature(pub crypto.PublicKey, blob []byte) (algorithm string, signature []byte, err error) {
	r := NewReader(blob)
	algorithm, contents := r.Text(), r.Bytes()
	if err = r.End(); err == nil {
		signature, err = parseSignature(pub, contents)
	}
	if err != nil {
		return "", nil, fmt.Errorf("signature: %w", err)
	}
	return algorithm, signature, nil
}

// parseSignature decodes the second field of the blob of a signature.
func parseSignature(pub crypto.PublicKey, contents []byte) ([]byte, error) {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		size := pub.Size()
		if len(contents) > size {
			return nil, fmt.Errorf("has %d bytes; the modulus has %d", len(contents), size)
		}
		// Some agents omit leading zeros (RFC 4253, section 6.6, says "without
		// padding"), and OpenSSH adds them, too.
		signature := make([]byte, size)
		copy(signature[size-len(contents):], contents)
		return signature, nil
	case *ecdsa.PublicKey:
		r := NewReader(contents)
		s := ecdsaSignature{r.Mpint(), r.Mpint()}
		if err := r.End(); err != nil {
			return nil, err
		}
		if err := s.check(pub); err != nil {
			return nil, err
		}
		return asn1.Marshal(s)
	case ed25519.PublicKey:
		if len(contents) != ed25519.SignatureSize {
			return nil, errEd25519Signature
		}
		return append([]byte(nil), contents...), nil
	}
	return nil, fmt.Errorf("key of type %T: %w", pub, errors.ErrUnsupported)
}

var errEd25519Signature = errors.New("an Ed25519 signature has 64 bytes")

// An ecdsaSignature is Ecdsa-Sig-Value (RFC 3279, section 2.2.3).
type ecdsaSignature struct{ R, S *big.Int }

func (s ecdsaSignature) check(pub *ecdsa.PublicKey) error {
	n := pub.Curve.Params().N
	for _, v := range []*big.Int{s.R, s.S} {
		if v.Sign() <= 0 || v.Cmp(n) >= 0 {
			return errors.New("number of an ECDSA signature is not between 1 and the order of the curve")
		}
	}
	return nil
}
