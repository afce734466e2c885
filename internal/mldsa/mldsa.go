// Package mldsa reads ML-DSA public keys and certificates, verifies signatures, and
// signs with expanded private keys (FIPS 204, RFC 9881). Go's crypto/mldsa, and
// crypto/x509 with it, is new in Go 1.27; package signer depends on no other module.
package mldsa

import (
	"bytes"
	"crypto"
	"crypto/subtle"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"reflect"
	"slices"
)

// Parameters are a parameter set (FIPS 204, section 4).
type Parameters struct {
	Name string // such as "ML-DSA-44"

	arc    int // the last of the object identifier, 2.16.840.1.101.3.4.3.arc
	k, l   int // rows and columns of the matrix
	eta    int32
	tau    int
	gamma1 int32
	gamma2 int32
	omega  int
	hash   int // size of the commitment's hash: λ/4
}

const (
	gamma2Of44 = (q - 1) / 88
	gamma2Of65 = (q - 1) / 32
)

var parameters = [...]*Parameters{
	{"ML-DSA-44", 17, 4, 4, 2, 39, 1 << 17, gamma2Of44, 80, 32},
	{"ML-DSA-65", 18, 6, 5, 4, 49, 1 << 19, gamma2Of65, 55, 48},
	{"ML-DSA-87", 19, 8, 7, 2, 60, 1 << 19, gamma2Of65, 75, 64},
}

const seedSize = 32

// PublicKeySize returns the size of a public key in bytes.
func (s *Parameters) PublicKeySize() int { return seedSize + s.k*(23-d)*n/8 }
func (s *Parameters) signatureSize() int { return s.hash + s.l*s.gamma1Bits()*n/8 + s.omega + s.k }
func (s *Parameters) beta() int32        { return int32(s.tau) * s.eta }

// gamma1Bits is the number of bits of a coefficient in [-γ1+1, γ1].
func (s *Parameters) gamma1Bits() int {
	if s.gamma1 == 1<<17 {
		return 18
	}
	return 20
}

// ParametersFor returns the parameter set that an object identifier names, or nil.
func ParametersFor(id asn1.ObjectIdentifier) *Parameters {
	i := slices.IndexFunc(parameters[:], func(s *Parameters) bool { return id.Equal(s.oid()) })
	if i < 0 {
		return nil
	}
	return parameters[i]
}

func (s *Parameters) oid() asn1.ObjectIdentifier {
	return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, s.arc}
}

// A PublicKey is immutable. It has the methods of crypto/mldsa's PublicKey that
// need no further types.
type PublicKey struct {
	*Parameters
	raw []byte
}

// NewPublicKey decodes a public key, or returns nil if the size is wrong. It copies
// encoded.
func NewPublicKey(s *Parameters, encoded []byte) *PublicKey {
	if len(encoded) != s.PublicKeySize() {
		return nil
	}
	return &PublicKey{s, bytes.Clone(encoded)}
}

// Of returns pub if it is an ML-DSA key of this package, of crypto/mldsa or of
// filippo.io/mldsa, and nil otherwise. It recognizes the foreign types by their
// methods and the size of the key.
func Of(pub crypto.PublicKey) *PublicKey {
	switch pub := pub.(type) {
	case *PublicKey:
		return pub
	case interface {
		Bytes() []byte
		Equal(crypto.PublicKey) bool
	}:
		if v := reflect.ValueOf(pub); v.Kind() == reflect.Pointer && v.IsNil() {
			return nil
		}
		encoded := pub.Bytes()
		for _, s := range parameters {
			if len(encoded) == s.PublicKeySize() {
				return &PublicKey{s, encoded}
			}
		}
	}
	return nil
}

// Bytes returns the encoded key in memory that the caller owns.
func (p *PublicKey) Bytes() []byte { return bytes.Clone(p.raw) }

// Equal reports whether x is the same key, in any of the types of [Of].
func (p *PublicKey) Equal(x crypto.PublicKey) bool {
	other := Of(x)
	return other != nil && p.Parameters == other.Parameters && subtle.ConstantTimeCompare(p.raw, other.raw) == 1
}

type publicKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Key       asn1.BitString
}

// MarshalPKIX returns the key as a SubjectPublicKeyInfo (RFC 9881, section 4).
func (p *PublicKey) MarshalPKIX() ([]byte, error) {
	return asn1.Marshal(publicKeyInfo{
		pkix.AlgorithmIdentifier{Algorithm: p.oid()}, asn1.BitString{Bytes: p.raw, BitLength: 8 * len(p.raw)},
	})
}

// ParsePKIX returns the key of a SubjectPublicKeyInfo, or nil if it is no ML-DSA key
// or damaged.
func ParsePKIX(spki []byte) *PublicKey {
	var info publicKeyInfo
	rest, err := asn1.Unmarshal(spki, &info)
	if err != nil || len(rest) > 0 || len(info.Algorithm.Parameters.FullBytes) > 0 || info.Key.BitLength%8 != 0 {
		return nil
	}
	s := ParametersFor(info.Algorithm.Algorithm)
	if s == nil || !isEncoded(info, spki) {
		return nil
	}
	return NewPublicKey(s, info.Key.Bytes)
}

// isEncoded reports whether der is the encoding of v. Unmarshal alone ignores
// elements at the end of a SEQUENCE.
func isEncoded(v any, der []byte) bool {
	again, err := asn1.Marshal(v)
	return err == nil && bytes.Equal(again, der)
}

// OfCertificate returns the key of a certificate, or nil if it is no ML-DSA key.
// Before Go 1.27, crypto/x509 parses such a certificate, but not its key.
func OfCertificate(c *x509.Certificate) *PublicKey {
	switch {
	case c.PublicKey != nil:
		return Of(c.PublicKey)
	case c.PublicKeyAlgorithm != x509.UnknownPublicKeyAlgorithm:
		return nil
	}
	return ParsePKIX(c.RawSubjectPublicKeyInfo)
}

// PublicKeyOf returns the key of a certificate, or nil if it is of an unknown
// algorithm.
func PublicKeyOf(c *x509.Certificate) crypto.PublicKey {
	if key := OfCertificate(c); key != nil && c.PublicKey == nil {
		return key
	}
	return c.PublicKey
}

// A Signed is a certificate or a revocation list with the name of the algorithm
// that signed it (RFC 5280, sections 4.1.1 and 5.1.1).
type Signed struct {
	ToBeSigned []byte // DER
	Parameters *Parameters
	Signature  []byte
}

// ParseSigned parses what an ML-DSA key signed. ok is false for other algorithms.
func ParseSigned(der []byte) (_ Signed, ok bool) {
	var parts struct {
		ToBeSigned asn1.RawValue
		Algorithm  pkix.AlgorithmIdentifier
		Signature  asn1.BitString
	}
	rest, err := asn1.Unmarshal(der, &parts)
	if err != nil || len(rest) > 0 || len(parts.Algorithm.Parameters.FullBytes) > 0 || parts.Signature.BitLength%8 != 0 {
		return Signed{}, false
	}
	s := ParametersFor(parts.Algorithm.Algorithm)
	return Signed{parts.ToBeSigned.FullBytes, s, parts.Signature.Bytes}, s != nil && isEncoded(parts, der)
}

// SignatureOf returns the signature of a certificate if crypto/x509 does not know
// its algorithm, and it is ML-DSA.
func SignatureOf(c *x509.Certificate) (_ Signed, ok bool) {
	if c.SignatureAlgorithm != x509.UnknownSignatureAlgorithm {
		return Signed{}, false
	}
	return ParseSigned(c.Raw)
}

// By reports whether key made the signature.
func (s Signed) By(key *PublicKey) bool {
	return key != nil && key.Parameters == s.Parameters && key.Verify(s.ToBeSigned, s.Signature)
}
