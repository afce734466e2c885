package sshwire

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
)

// Types of public keys, which also name the algorithm of the signatures of ECDSA and
// Ed25519 keys.
const (
	RSA     = "ssh-rsa"
	P256    = "ecdsa-sha2-nistp256"
	P384    = "ecdsa-sha2-nistp384"
	P521    = "ecdsa-sha2-nistp521"
	Ed25519 = "ssh-ed25519"
)

const (
	certificateSuffix = "-cert-v01@openssh.com"
	ecdsaPrefix       = "ecdsa-sha2-"
)

// RSA keys outside of these sizes, in bits, are refused: crypto/rsa makes none that are
// smaller, and OpenSSH knows none that are larger.
const (
	minRSA = 1024
	maxRSA = maxBits
)

// curveOf returns the curve of a type of ECDSA keys.
func curveOf(name string) elliptic.Curve {
	switch name {
	case P256:
		return elliptic.P256()
	case P384:
		return elliptic.P384()
	}
	return elliptic.P521()
}

// KeyType returns the type that the blob of a public key or of a certificate begins
// with, such as "ssh-rsa". ok is false if that is no text of at most 64 printable ASCII
// characters (RFC 4251, section 6).
func KeyType(blob []byte) (name string, ok bool) {
	name = NewReader(blob).Text()
	isOther := func(c rune) bool { return c <= ' ' || c > '~' || c == ',' }
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, isOther) {
		return "", false
	}
	return name, true
}

// TypeOf returns the type of a public key. It is "" for a key that SSH has no type for.
func TypeOf(pub crypto.PublicKey) string {
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		return RSA
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
			return P256
		case elliptic.P384():
			return P384
		case elliptic.P521():
			return P521
		}
	case ed25519.PublicKey:
		return Ed25519
	}
	return ""
}

// MarshalPublicKey returns the blob of an RSA, ECDSA (P-256, P-384, P-521) or Ed25519
// key. For any other key the error wraps [errors.ErrUnsupported].
func MarshalPublicKey(pub crypto.PublicKey) ([]byte, error) {
	var b Builder
	b.Text(TypeOf(pub))
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		e := big.NewInt(int64(pub.E))
		if err := checkRSA(pub.N, e); err != nil {
			return nil, err
		}
		b.Mpint(e)
		b.Mpint(pub.N)
		return b.data, nil
	case *ecdsa.PublicKey:
		curve, ok := strings.CutPrefix(TypeOf(pub), ecdsaPrefix)
		if !ok {
			break
		}
		point, err := pub.Bytes()
		if err != nil {
			return nil, err
		}
		b.Text(curve)
		b.Bytes(point)
		return b.data, nil
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return nil, errEd25519Size
		}
		b.Bytes(pub)
		return b.data, nil
	}
	return nil, fmt.Errorf("SSH has no encoding for a key of type %T: %w", pub, errors.ErrUnsupported)
}

var errEd25519Size = errors.New("an Ed25519 key has 32 bytes")

// ParsePublicKey decodes the blob of a public key. The error wraps
// [errors.ErrUnsupported] if its type is none of the types of this package, as with
// keys on security keys (sk-…) and certificates; see [ParseCertificate].
func ParsePublicKey(blob []byte) (crypto.PublicKey, error) {
	r := NewReader(blob)
	name := r.Text()
	pub, err := readPublicKey(r, name)
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	return pub, nil
}

// readPublicKey reads the fields of a key after its type.
func readPublicKey(r *Reader, name string) (crypto.PublicKey, error) {
	if r.err != nil {
		return nil, r.err
	}
	switch name {
	case RSA:
		e, n := r.Mpint(), r.Mpint()
		if r.err != nil {
			return nil, r.err
		}
		if err := checkRSA(n, e); err != nil {
			return nil, err
		}
		return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
	case P256, P384, P521:
		curve := r.Text()
		if r.err == nil && ecdsaPrefix+curve != name {
			return nil, fmt.Errorf("type %s has a key on curve %.32q", name, curve)
		}
		point := r.Bytes()
		if r.err != nil {
			return nil, r.err
		}
		return ecdsa.ParseUncompressedPublicKey(curveOf(name), point)
	case Ed25519:
		b := r.Bytes()
		if r.err != nil {
			return nil, r.err
		}
		if len(b) != ed25519.PublicKeySize {
			return nil, errEd25519Size
		}
		return ed25519.PublicKey(append([]byte(nil), b...)), nil
	}
	return nil, fmt.Errorf("type %.64q: %w", name, errors.ErrUnsupported)
}

// checkRSA checks the size of a key, and what crypto/rsa demands of its numbers.
func checkRSA(n, e *big.Int) error {
	switch bits := n.BitLen(); {
	case bits < minRSA || bits > maxRSA:
		return fmt.Errorf("RSA key has %d bits; %d to %d are allowed", bits, minRSA, maxRSA)
	case n.Bit(0) == 0:
		return errors.New("RSA modulus is even")
	case !e.IsInt64() || e.Int64() < 3 || e.Int64() > math.MaxInt32 || e.Bit(0) == 0:
		return errors.New("RSA exponent is not an odd number between 3 and 2³¹")
	}
	return nil
}

// ParseCertificate decodes the public key that a certificate of OpenSSH is for
// (PROTOCOL.certkeys), and returns the fields after the key as they are: the serial
// number, the type and so on. It checks neither them nor the signature. ok reports
// whether the type of blob is that of a certificate. If it is not one of a key of this
// package, the error wraps [errors.ErrUnsupported].
func ParseCertificate(blob []byte) (pub crypto.PublicKey, rest []byte, ok bool, err error) {
	r := NewReader(blob)
	name, ok := strings.CutSuffix(r.Text(), certificateSuffix)
	if !ok {
		return nil, nil, false, nil
	}
	r.Bytes() // a nonce
	pub, err = readPublicKey(r, name)
	if err != nil {
		return nil, nil, true, fmt.Errorf("OpenSSH certificate: %w", err)
	}
	return pub, r.Remaining(), true, nil
}
