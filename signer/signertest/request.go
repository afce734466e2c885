package signertest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// schemes lists the signature schemes of RFC 8446, section 4.2.3. Like TLS 1.2,
// this table does not bind the hash of an ECDSA signature to the curve.
var schemes = []struct {
	padding signer.Padding
	hash    crypto.Hash
	tls     tls.SignatureScheme
	x509    x509.SignatureAlgorithm
}{
	{signer.PKCS1v15, crypto.SHA256, tls.PKCS1WithSHA256, x509.SHA256WithRSA},
	{signer.PKCS1v15, crypto.SHA384, tls.PKCS1WithSHA384, x509.SHA384WithRSA},
	{signer.PKCS1v15, crypto.SHA512, tls.PKCS1WithSHA512, x509.SHA512WithRSA},
	{signer.PSS, crypto.SHA256, tls.PSSWithSHA256, x509.SHA256WithRSAPSS},
	{signer.PSS, crypto.SHA384, tls.PSSWithSHA384, x509.SHA384WithRSAPSS},
	{signer.PSS, crypto.SHA512, tls.PSSWithSHA512, x509.SHA512WithRSAPSS},
	{signer.NoPadding, crypto.SHA256, tls.ECDSAWithP256AndSHA256, x509.ECDSAWithSHA256},
	{signer.NoPadding, crypto.SHA384, tls.ECDSAWithP384AndSHA384, x509.ECDSAWithSHA384},
	{signer.NoPadding, crypto.SHA512, tls.ECDSAWithP521AndSHA512, x509.ECDSAWithSHA512},
	{signer.NoPadding, 0, tls.Ed25519, x509.PureEd25519},
}

// mldsaSchemes has the code points of draft-ietf-tls-mldsa.
var mldsaSchemes = map[string]tls.SignatureScheme{"ML-DSA-44": 0x0904, "ML-DSA-65": 0x0905, "ML-DSA-87": 0x0906}

// A request is one kind of request to Sign, with a function that verifies the
// signature.
type request struct {
	name   string
	opts   crypto.SignerOpts
	tls    tls.SignatureScheme     // 0 if TLS has no code point for it
	x509   x509.SignatureAlgorithm // 0: the one that crypto/x509 chooses
	verify func(digest, signature []byte) error
	mode   mode
}

// digestOf returns the digest of message, or message itself for Ed25519
// and ML-DSA.
func digestOf(message string, opts crypto.SignerOpts) []byte {
	if opts.HashFunc() == 0 {
		return []byte(message)
	}
	h := opts.HashFunc().New()
	h.Write([]byte(message))
	return h.Sum(nil)
}

// requestsFor returns the requests that s must support.
func requestsFor(s signer.Signer, m mode) ([]request, error) {
	all, err := requestsOf(s)
	for i := range all {
		all[i].mode = m
	}
	return all, err
}

func requestsOf(s signer.Signer) ([]request, error) {
	var all []request
	switch pub := s.Public().(type) {
	case *rsa.PublicKey:
		all = rsaRequests(pub)
	case *ecdsa.PublicKey:
		all = ecdsaRequests(pub)
	case ed25519.PublicKey:
		all = ed25519Requests(pub)
	default:
		if !isMLDSA(pub) {
			return nil, fmt.Errorf("Public returns a %T, want a key of crypto/rsa, crypto/ecdsa or crypto/ed25519, or for ML-DSA", pub)
		}
		all = mldsaRequests(pub)
	}
	l, ok := s.(signer.SchemeLimiter)
	if !ok {
		return all, nil
	}
	listed := l.SignatureSchemes()
	supported := slices.DeleteFunc(all, func(r request) bool { return r.tls == 0 || !slices.Contains(listed, r.tls) })
	if len(supported) == 0 {
		return nil, fmt.Errorf("SignatureSchemes returns %v, but a key of type %s supports none of them", listed, signer.DescribeKey(s.Public()))
	}
	return supported, nil
}

var errSignature = errors.New("signature does not verify")

func ecdsaRequests(pub *ecdsa.PublicKey) (all []request) {
	for _, s := range schemes {
		if s.padding != signer.NoPadding || s.hash == 0 {
			continue
		}
		all = append(all, request{name: s.tls.String(), opts: s.hash, tls: s.tls, x509: s.x509, verify: func(digest, signature []byte) error {
			if !ecdsa.VerifyASN1(pub, digest, signature) {
				return errSignature
			}
			return nil
		}})
	}
	return all
}

func ed25519Requests(pub ed25519.PublicKey) []request {
	verify := func(message, signature []byte) error {
		return ed25519.VerifyWithOptions(pub, message, signature, &ed25519.Options{})
	}
	return []request{
		{name: "Ed25519", opts: crypto.Hash(0), tls: tls.Ed25519, x509: x509.PureEd25519, verify: verify},
		{name: "Ed25519 with options", opts: &ed25519.Options{}, tls: tls.Ed25519, x509: x509.PureEd25519, verify: verify},
	}
}

// isMLDSA reports whether pub is a key for ML-DSA, of any type that package signer
// knows.
func isMLDSA(pub crypto.PublicKey) bool { return mldsaSchemes[signer.DescribeKey(pub)] != 0 }

func mldsaRequests(pub crypto.PublicKey) []request {
	name := signer.DescribeKey(pub)
	verify := func(message, signature []byte) error {
		if !signer.Verifies(pub, signer.Mechanism{}, message, signature) {
			return errSignature
		}
		return nil
	}
	return []request{
		{name: name, opts: crypto.Hash(0), tls: mldsaSchemes[name], verify: verify},
		{name: name + " with options", opts: &mldsaOptions{}, tls: mldsaSchemes[name], verify: verify},
	}
}

// mldsaOptions are like the Options of crypto/mldsa.
type mldsaOptions struct{ Context string }

func (*mldsaOptions) HashFunc() crypto.Hash { return 0 }

func rsaRequests(pub *rsa.PublicKey) (all []request) {
	for _, s := range schemes {
		switch s.padding {
		case signer.PKCS1v15:
			all = append(all, request{name: s.tls.String(), opts: s.hash, tls: s.tls, x509: s.x509, verify: func(digest, signature []byte) error {
				return rsa.VerifyPKCS1v15(pub, s.hash, digest, signature)
			}})
		case signer.PSS:
			largest := largestSalt(pub, s.hash)
			// rsa.PSSSaltLengthAuto is 0. It means the largest
			// possible salt, but FIPS 186-5, section 5.4 (g),
			// limits the salt to the length of the hash.
			salts := []pssSalt{
				{rsa.PSSSaltLengthEqualsHash, []int{s.hash.Size()}, s.tls},
				{s.hash.Size(), []int{s.hash.Size()}, s.tls},
				{rsa.PSSSaltLengthAuto, []int{largest, s.hash.Size()}, 0},
				{20, []int{20}, 0},
			}
			for _, salt := range salts {
				if slices.Min(salt.want) > largest {
					continue // a 1024-bit key is too small for SHA-512 with a salt of 64 bytes
				}
				all = append(all, request{
					name:   fmt.Sprintf("%v with salt length %d", s.tls, salt.requested),
					opts:   &rsa.PSSOptions{SaltLength: salt.requested, Hash: s.hash},
					tls:    salt.tls,
					x509:   s.x509,
					verify: salt.verifier(pub, s.hash),
				})
			}
		}
	}
	return all
}

// largestSalt implements RFC 8017, section 9.1.1.
func largestSalt(pub *rsa.PublicKey, hash crypto.Hash) int {
	return (pub.N.BitLen()+6)/8 - hash.Size() - 2
}

type pssSalt struct {
	requested int
	want      []int // accepted lengths
	tls       tls.SignatureScheme
}

func (p pssSalt) verifier(pub *rsa.PublicKey, hash crypto.Hash) func(digest, signature []byte) error {
	return func(digest, signature []byte) error {
		for _, n := range p.want {
			if n > 0 && rsa.VerifyPSS(pub, hash, digest, signature, &rsa.PSSOptions{SaltLength: n, Hash: hash}) == nil {
				return nil
			}
		}
		if rsa.VerifyPSS(pub, hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) == nil {
			return fmt.Errorf("signature has a wrong salt length; want one of %v", p.want)
		}
		return errSignature
	}
}
