package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
)

// HashByLength returns key for libraries that call Sign of an RSA or ECDSA key
// with nil options, which [MechanismFor] refuses. The hash then follows from the
// length of the digest: SHA-256 for 32 bytes, SHA-384 for 48 and SHA-512 for 64. Sign
// refuses other lengths. An RSA signature without options is one of PKCS #1 v1.5.
//
// A message of 32 bytes would be signed as if it were a digest, so give the result
// only to a library that hashes. With SignMessage, and with keys that sign the message
// itself, such as Ed25519, nil options stay an error.
//
// The result borrows key and passes all other requests on.
func HashByLength(key crypto.Signer) crypto.Signer { return hashByLength{key} }

type hashByLength struct{ crypto.Signer }

// hashOfLength returns the hash whose digests have this length, or 0. It has no SHA-224:
// a library that uses it names it.
func hashOfLength(length int) crypto.Hash {
	switch length {
	case 32:
		return crypto.SHA256
	case 48:
		return crypto.SHA384
	case 64:
		return crypto.SHA512
	}
	return 0
}

func (h hashByLength) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts == nil {
		hash := hashOfLength(len(digest))
		switch h.Public().(type) {
		case *rsa.PublicKey, *ecdsa.PublicKey:
		default:
			return nil, errNilOptions
		}
		if hash == 0 {
			return nil, fmt.Errorf("%w: no hash of SHA-2 has a digest of %d bytes", errNilOptions, len(digest))
		}
		opts = hash
	}
	return h.Signer.Sign(rand, digest, opts)
}

func (h hashByLength) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return signMessage(h.Signer, rand, message, opts)
}

// SaltByHash returns key for libraries that ask for PSS signatures with
// [rsa.PSSSaltLengthAuto], the longest salt that fits. Many devices make no such salts;
// see [PSSSaltLengths]. Sign and SignMessage then ask for a salt as long as the hash,
// which every verifier with an automatic length accepts, and which RFC 8017 recommends
// (section 9.1).
//
// The result borrows key and passes all other requests on.
func SaltByHash(key crypto.Signer) crypto.Signer { return saltByHash{key} }

type saltByHash struct{ crypto.Signer }

func (s saltByHash) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.Signer.Sign(rand, digest, hashSalt(opts))
}

func (s saltByHash) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return signMessage(s.Signer, rand, message, hashSalt(opts))
}

func hashSalt(opts crypto.SignerOpts) crypto.SignerOpts {
	if pss, ok := opts.(*rsa.PSSOptions); ok && pss != nil && pss.SaltLength == rsa.PSSSaltLengthAuto {
		return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: pss.Hash}
	}
	return opts
}

var errNilOptions = errors.New("nil signature options: the hash is unknown")

// signMessage is [crypto.SignMessage] that refuses nil options, and hash functions that
// the program does not contain, instead of a panic.
func signMessage(key crypto.Signer, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if isNil(opts) {
		return nil, errNilOptions
	}
	if m, ok := key.(crypto.MessageSigner); ok {
		return m.SignMessage(rand, message, opts)
	}
	digest, err := digestOf(message, opts)
	if err != nil {
		return nil, err
	}
	return key.Sign(rand, digest, opts)
}

// A SaltLimiter is a Signer that knows which salts it supports in PSS signatures.
type SaltLimiter interface {
	// PSSSaltLengths returns the only lengths of the salt, in bytes, of the
	// signatures that the Signer makes with a hash of SHA-2; nil: no limit is
	// known. It does no I/O. It says nothing about PSS itself, see
	// [SchemeLimiter].
	PSSSaltLengths(hash crypto.Hash) []int
}

// PSSSaltLengths returns the lengths of s, or nil if s is no [SaltLimiter]. Many
// devices that are none refuse some salts, too, but only when they sign; every device
// with PSS, but for some old TPMs, supports a salt as long as the hash. For a hash that
// is none of SHA-2 the result is nil.
func PSSSaltLengths(s Signer, hash crypto.Hash) []int {
	if l, ok := s.(SaltLimiter); ok && isSHA2(hash) {
		return l.PSSSaltLengths(hash)
	}
	return nil
}
