package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// Object identifiers of signature algorithms (RFC 8017, appendix A).
var (
	oidRSA  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidMGF1 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 8}
	oidPSS  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}
)

// digests are the digest algorithms (RFC 5754, section 2), with the signature
// algorithms that include them (RFC 5754, sections 3.2 and 3.3).
var digests = []struct {
	hash           crypto.Hash
	id, rsa, ecdsa asn1.ObjectIdentifier
}{
	{crypto.SHA256, sha2(1), asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}},
	{crypto.SHA384, sha2(2), asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}},
	{crypto.SHA512, sha2(3), asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}},
}

func sha2(n int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, n} }

var oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112} // RFC 8419, section 2.1

// digestOf returns the hash of a digest algorithm, whose parameters are absent or
// NULL (RFC 5754, section 2).
func digestOf(id pkix.AlgorithmIdentifier) (crypto.Hash, error) {
	for _, d := range digests {
		if d.id.Equal(id.Algorithm) && (len(id.Parameters.FullBytes) == 0 || isNull(id.Parameters)) {
			return d.hash, nil
		}
	}
	return 0, fmt.Errorf("the digest algorithm %v is not SHA-256, SHA-384 or SHA-512", id.Algorithm)
}

func isNull(v asn1.RawValue) bool { return bytes.Equal(v.FullBytes, asn1.NullBytes) }

// mechanismOf returns the mechanism of a signature by the key pub, whose digest
// algorithm is hash.
func mechanismOf(pub crypto.PublicKey, hash crypto.Hash, id pkix.AlgorithmIdentifier) (signer.Mechanism, error) {
	absent := len(id.Parameters.FullBytes) == 0
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		switch {
		case id.Algorithm.Equal(oidPSS):
			return pssMechanism(pub, hash, id.Parameters.FullBytes)
		case isNull(id.Parameters) && (id.Algorithm.Equal(oidRSA) || id.Algorithm.Equal(idsOf(hash).rsa)):
			return signer.Mechanism{Padding: signer.PKCS1v15, Hash: hash}, nil
		}
	case *ecdsa.PublicKey:
		if absent && id.Algorithm.Equal(idsOf(hash).ecdsa) {
			return signer.Mechanism{Hash: hash}, nil
		}
	case ed25519.PublicKey:
		if absent && id.Algorithm.Equal(oidEd25519) && hash == crypto.SHA512 { // RFC 8419, section 3.1
			return signer.Mechanism{}, nil
		}
	}
	return signer.Mechanism{}, fmt.Errorf("the signature algorithm %v with %v is not one of a key of the type %s", id.Algorithm, hash, signer.DescribeKey(pub))
}

func idsOf(hash crypto.Hash) (ids struct{ id, rsa, ecdsa asn1.ObjectIdentifier }) {
	for _, d := range digests {
		if d.hash == hash {
			ids.id, ids.rsa, ids.ecdsa = d.id, d.rsa, d.ecdsa
		}
	}
	return ids
}

// pssParameters are RSASSA-PSS-params (RFC 4055, section 3.1). The fields that
// have a default for SHA-1 are required.
type pssParameters struct {
	Hash    pkix.AlgorithmIdentifier `asn1:"explicit,tag:0"`
	MGF     pkix.AlgorithmIdentifier `asn1:"explicit,tag:1"`
	SaltLen int                      `asn1:"explicit,tag:2"`
}

var errPSS = errors.New("the parameters of the RSA-PSS signature are not supported")

// pssMechanism accepts MGF1 with the hash of the message, and salts that are at
// least as long as the hash.
func pssMechanism(pub *rsa.PublicKey, hash crypto.Hash, parameters []byte) (m signer.Mechanism, err error) {
	var p pssParameters
	var inner pkix.AlgorithmIdentifier
	if !exactly(parameters, &p) || !p.MGF.Algorithm.Equal(oidMGF1) || !exactly(p.MGF.Parameters.FullBytes, &inner) {
		return m, errPSS
	}
	for _, id := range []pkix.AlgorithmIdentifier{p.Hash, inner} {
		if h, err := digestOf(id); err != nil || h != hash {
			return m, errPSS
		}
	}
	if p.SaltLen < hash.Size() || p.SaltLen > pub.Size() {
		return m, errPSS
	}
	return signer.Mechanism{Padding: signer.PSS, Hash: hash, SaltLen: p.SaltLen}, nil
}

// exactly reports whether data is the DER of a value, to which v points.
func exactly[T any](data []byte, v *T) bool {
	rest, err := asn1.Unmarshal(data, v)
	if err != nil || len(rest) > 0 {
		return false
	}
	same, err := asn1.Marshal(*v)
	return err == nil && bytes.Equal(same, data)
}

// A choice is how a key signs.
type choice struct {
	hash      crypto.Hash // of the content and, except for Ed25519, of the attributes
	opts      crypto.SignerOpts
	algorithm pkix.AlgorithmIdentifier
}

// choose returns how key signs: with PSS only if it makes no other signatures.
func choose(key signer.Signer) (choice, error) {
	hash := crypto.SHA256
	switch pub := key.Public().(type) {
	case *rsa.PublicKey:
		if !signs(key, tls.PKCS1WithSHA256) && signs(key, tls.PSSWithSHA256) {
			parameters, err := newPSSParameters(hash)
			return choice{hash, &rsa.PSSOptions{SaltLength: hash.Size(), Hash: hash}, pkix.AlgorithmIdentifier{Algorithm: oidPSS, Parameters: parameters}}, err
		}
		return choice{hash, hash, pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}}, nil // RFC 3370, section 3.2
	case *ecdsa.PublicKey:
		switch pub.Curve {
		case elliptic.P256():
		case elliptic.P384():
			hash = crypto.SHA384
		case elliptic.P521():
			hash = crypto.SHA512
		}
		return choice{hash, hash, pkix.AlgorithmIdentifier{Algorithm: idsOf(hash).ecdsa}}, nil
	case ed25519.PublicKey:
		return choice{crypto.SHA512, crypto.Hash(0), pkix.AlgorithmIdentifier{Algorithm: oidEd25519}}, nil
	}
	return choice{}, fmt.Errorf("a key of the type %s: %w", signer.DescribeKey(key.Public()), errors.ErrUnsupported)
}

func signs(key signer.Signer, scheme tls.SignatureScheme) bool {
	l, ok := key.(signer.SchemeLimiter)
	return !ok || slices.Contains(l.SignatureSchemes(), scheme)
}

func newPSSParameters(hash crypto.Hash) (v asn1.RawValue, err error) {
	id := pkix.AlgorithmIdentifier{Algorithm: idsOf(hash).id, Parameters: asn1.NullRawValue} // RFC 4055, section 6
	inner, err := asn1.Marshal(id)
	if err != nil {
		return v, err
	}
	v.FullBytes, err = asn1.Marshal(pssParameters{Hash: id, MGF: pkix.AlgorithmIdentifier{Algorithm: oidMGF1, Parameters: asn1.RawValue{FullBytes: inner}}, SaltLen: hash.Size()})
	return v, err
}
