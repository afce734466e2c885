package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"reflect"

	"github.com/holdfast-dev/holdfast/internal/mldsa"
)

// A Padding identifies the padding scheme of an RSA signature.
type Padding int

const (
	NoPadding Padding = iota // ECDSA, Ed25519 and ML-DSA
	PKCS1v15                 // RFC 8017, section 8.2
	PSS                      // RFC 8017, section 8.1
)

func (p Padding) String() string {
	switch p {
	case NoPadding:
		return "none"
	case PKCS1v15:
		return "PKCS #1 v1.5"
	case PSS:
		return "PSS"
	}
	return fmt.Sprintf("Padding(%d)", int(p))
}

// A Mechanism is a decoded request to Sign: everything that a backend maps to
// its native constants.
type Mechanism struct {
	Padding Padding
	Hash    crypto.Hash // of the digest; 0 for Ed25519 and ML-DSA, which sign the message itself
	SaltLen int         // for PSS, in bytes; never a special value of crypto/rsa
}

// MechanismFor decodes the arguments of [crypto.Signer.Sign] for a key with the
// public key pub.
//
// For RSA and ECDSA it refuses a request without a hash and a digest whose
// length differs from opts.HashFunc().Size(), so that a message is never signed
// as if it were a digest. It returns [errors.ErrUnsupported] for hashes other
// than SHA-224, SHA-256, SHA-384 and SHA-512, for key types other than RSA,
// ECDSA, Ed25519 and ML-DSA, for the variants Ed25519ph and Ed25519ctx, and for
// ML-DSA with a hash or a context. Ed25519 and ML-DSA keys sign the message itself,
// which is then the digest, and opts have to be a zero value, such as crypto.Hash(0) or
// the Options of crypto/mldsa without a context.
func MechanismFor(pub crypto.PublicKey, digest []byte, opts crypto.SignerOpts) (Mechanism, error) {
	pss, isPSS := opts.(*rsa.PSSOptions)
	ed, isEd := opts.(*ed25519.Options)
	if isNil(opts) {
		if signsMessages(pub) {
			return Mechanism{}, errors.New("nil signature options: pass crypto.Hash(0)")
		}
		return Mechanism{}, errNilOptions
	}
	hash := opts.HashFunc()
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if err := checkHash(hash, digest); err != nil {
			return Mechanism{}, err
		}
		if !isPSS {
			return Mechanism{Padding: PKCS1v15, Hash: hash}, nil
		}
		n, err := saltLen(pub, pss.SaltLength, hash)
		if err != nil {
			return Mechanism{}, err
		}
		return Mechanism{Padding: PSS, Hash: hash, SaltLen: n}, nil
	case *ecdsa.PublicKey:
		if err := checkHash(hash, digest); err != nil {
			return Mechanism{}, err
		}
		return Mechanism{Hash: hash}, nil
	case ed25519.PublicKey:
		return Mechanism{}, checkPure("Ed25519", hash, isEd && ed.Context != "")
	}
	if key := mldsa.Of(pub); key != nil {
		v := reflect.Indirect(reflect.ValueOf(opts))
		return Mechanism{}, checkPure(key.Name, hash, v.IsValid() && !v.IsZero())
	}
	return Mechanism{}, fmt.Errorf("key of type %T: %w", pub, errors.ErrUnsupported)
}

// signsMessages reports whether a key signs messages, not their hashes.
func signsMessages(pub crypto.PublicKey) bool {
	_, ok := pub.(ed25519.PublicKey)
	return ok || mldsa.Of(pub) != nil
}

// checkPure checks the options for a key that signs messages.
func checkPure(name string, hash crypto.Hash, hasContext bool) error {
	switch {
	case hash != 0:
		return unsupported(name + " signs the message, not a hash: pass the message and crypto.Hash(0)")
	case hasContext:
		return unsupported(name + " with a context is not supported")
	}
	return nil
}

// An unsupported is an [errors.ErrUnsupported] with a text of its own.
type unsupported string

func (e unsupported) Error() string        { return string(e) }
func (e unsupported) Is(target error) bool { return target == errors.ErrUnsupported }

// isNil reports whether there are no options: the methods of crypto/rsa's and
// crypto/ed25519's panic if the pointer is nil.
func isNil(opts crypto.SignerOpts) bool {
	pss, isPSS := opts.(*rsa.PSSOptions)
	ed, isEd := opts.(*ed25519.Options)
	return opts == nil || isPSS && pss == nil || isEd && ed == nil
}

// checkHash checks hash and the length of digest. Call it before any call of
// hash.Size, which panics for unknown hashes.
func checkHash(hash crypto.Hash, digest []byte) error {
	switch hash {
	case crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512:
	case 0:
		return errors.New("no hash given: a digest cannot be distinguished from a message")
	default:
		return fmt.Errorf("hash %v: %w", hash, errors.ErrUnsupported)
	}
	if len(digest) != hash.Size() {
		return fmt.Errorf("digest has %d bytes; a digest of %v has %d", len(digest), hash, hash.Size())
	}
	return nil
}

// saltLen returns the length of the PSS salt that n, which may be a special
// value of crypto/rsa, asks for. The largest length is emLen - hLen - 2
// (RFC 8017, section 9.1.1).
func saltLen(pub *rsa.PublicKey, n int, hash crypto.Hash) (int, error) {
	largest := (pub.N.BitLen()-1+7)/8 - 2 - hash.Size()
	switch n {
	case rsa.PSSSaltLengthAuto:
		n = largest
	case rsa.PSSSaltLengthEqualsHash:
		n = hash.Size()
	}
	if n < 0 || n > largest {
		return 0, fmt.Errorf("PSS salt of %d bytes does not fit: %v with a %d-bit key allows 0 to %d",
			n, hash, pub.N.BitLen(), max(largest, 0))
	}
	return n, nil
}
