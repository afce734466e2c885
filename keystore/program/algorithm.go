package program

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
)

// An algorithm is a signature algorithm of the contract.
type algorithm struct {
	name    string
	kind    string // of the key; see kindOf
	padding signer.Padding
	hash    crypto.Hash // 0: it signs the message
	tls     tls.SignatureScheme
}

// algorithms are all algorithms. The names are those of RFC 8446, section 4.2.3, without
// the curve, which the key determines, and draft-ietf-tls-mldsa, section 3.
var algorithms = [...]algorithm{
	{"rsa_pss_sha256", "RSA", signer.PSS, crypto.SHA256, tls.PSSWithSHA256},
	{"rsa_pss_sha384", "RSA", signer.PSS, crypto.SHA384, tls.PSSWithSHA384},
	{"rsa_pss_sha512", "RSA", signer.PSS, crypto.SHA512, tls.PSSWithSHA512},
	{"rsa_pkcs1_sha256", "RSA", signer.PKCS1v15, crypto.SHA256, tls.PKCS1WithSHA256},
	{"rsa_pkcs1_sha384", "RSA", signer.PKCS1v15, crypto.SHA384, tls.PKCS1WithSHA384},
	{"rsa_pkcs1_sha512", "RSA", signer.PKCS1v15, crypto.SHA512, tls.PKCS1WithSHA512},
	{"ecdsa_sha256", "ECDSA", signer.NoPadding, crypto.SHA256, tls.ECDSAWithP256AndSHA256},
	{"ecdsa_sha384", "ECDSA", signer.NoPadding, crypto.SHA384, tls.ECDSAWithP384AndSHA384},
	{"ecdsa_sha512", "ECDSA", signer.NoPadding, crypto.SHA512, tls.ECDSAWithP521AndSHA512},
	{"ed25519", "Ed25519", signer.NoPadding, 0, tls.Ed25519},
	{"mldsa44", "ML-DSA-44", signer.NoPadding, 0, 0x0904},
	{"mldsa65", "ML-DSA-65", signer.NoPadding, 0, 0x0905},
	{"mldsa87", "ML-DSA-87", signer.NoPadding, 0, 0x0906},
}

// kindOf returns the kind of a key in the table algorithms, or "".
func kindOf(pub crypto.PublicKey) string {
	switch pub.(type) {
	case *rsa.PublicKey:
		return "RSA"
	case *ecdsa.PublicKey:
		return "ECDSA"
	case ed25519.PublicKey:
		return "Ed25519"
	}
	if key := mldsa.Of(pub); key != nil {
		return key.Name
	}
	return ""
}

// signsMessages reports whether a key signs messages, not their hashes.
func signsMessages(pub crypto.PublicKey) bool {
	for _, a := range algorithms {
		if a.kind == kindOf(pub) {
			return a.hash == 0
		}
	}
	return false
}

// choose returns those algorithms for pub that the program lists, or all of them if it
// lists none. It ignores names that it does not know.
func choose(pub crypto.PublicKey, listed []string) (chosen []algorithm, err error) {
	kind := kindOf(pub)
	for _, a := range algorithms {
		if a.kind == kind && (len(listed) == 0 || slices.Contains(listed, a.name)) {
			chosen = append(chosen, a)
		}
	}
	switch {
	case len(chosen) > 0:
		return chosen, nil
	case kind == "":
		return nil, signer.WithHint(fmt.Errorf("the program has a key of type %T: %w", pub, errors.ErrUnsupported), "use an RSA, ECDSA, Ed25519 or ML-DSA key")
	}
	return nil, broken(`"algorithms" has none for a key of type %s`, signer.DescribeKey(pub))
}

// algorithmFor returns the algorithm of the key for m.
func (k *Key) algorithmFor(m signer.Mechanism) (algorithm, error) {
	for _, a := range k.algorithms {
		switch {
		case a.padding != m.Padding || a.hash != m.Hash:
		case m.Padding == signer.PSS && m.SaltLen != m.Hash.Size():
			return algorithm{}, fmt.Errorf("PSS salt of %d bytes: a program makes only salts as long as the hash: %w", m.SaltLen, errors.ErrUnsupported)
		default:
			return a, nil
		}
	}
	what := signer.DescribeKey(k.pub) + " key"
	if m.Padding != signer.NoPadding {
		what += " with " + m.Padding.String()
	}
	if m.Hash != 0 {
		what += " and " + m.Hash.String()
	}
	return algorithm{}, fmt.Errorf("the program makes no signatures of a %s: %w", what, errors.ErrUnsupported)
}

// SignatureSchemes implements [signer.SchemeLimiter] with the algorithms that the
// program lists, or all for the type of the key if it lists none.
func (k *Key) SignatureSchemes() []tls.SignatureScheme {
	var all []tls.SignatureScheme
	for _, a := range k.algorithms {
		all = append(all, a.tls)
	}
	return all
}

// PSSSaltLengths implements [signer.SaltLimiter]: few services make salts of another
// length than that of the hash.
func (k *Key) PSSSaltLengths(hash crypto.Hash) []int { return []int{hash.Size()} }
