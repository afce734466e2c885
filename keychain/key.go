package keychain

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Key is a private key in a keychain. It is a [signer.Signer] and a
// [signer.SchemeLimiter], safe for concurrent use.
type Key struct {
	ref        keystore.Ref // opens the key again
	name       keystore.Ref // names the key in errors
	pub        crypto.PublicKey
	certs      signer.Certificates
	algorithms []algorithm
	proof      signer.Proof // that key is the private key of pub

	mu  sync.Mutex
	key native.Key // nil after Close
}

// Open opens the key of the identity that cfg names. The caller closes it. macOS
// may ask the user, and cannot be interrupted. If ctx is done first, Open returns
// an error, and closes the key in the background once macOS has responded.
func Open(ctx context.Context, cfg Config) (*Key, error) {
	sys, err := system()
	if err != nil {
		return nil, err
	}
	return open(ctx, cfg, sys)
}

func open(ctx context.Context, cfg Config, sys native.System) (*Key, error) {
	return withContext(ctx, func() (*Key, error) { return openBlocking(cfg, sys) }, func(k *Key) { _ = k.Close() })
}

// openBlocking is open without a context.
func openBlocking(cfg Config, sys native.System) (*Key, error) {
	found, err := search(cfg, sys)
	defer found.release()
	if err != nil {
		return nil, err
	}
	id, err := found.choose(cfg)
	if err != nil {
		return nil, err
	}
	key, err := id.handle.Key()
	if err != nil {
		return nil, fmt.Errorf("open the key of %s: %w", id.ref, asError(err))
	}
	k := &Key{ref: id.ref, name: cmp.Or(cfg.Ref, id.ref), pub: id.cert.PublicKey, key: key}
	if k.algorithms = algorithmsFor(k.pub, key.Supports); len(k.algorithms) == 0 {
		key.Release()
		return nil, signer.WithHint(fmt.Errorf("%s cannot sign: %w", id.ref, errors.ErrUnsupported),
			"use an identity for signing; some cards have other identities for decryption")
	}
	k.certs = chainOf(id.cert, cfg, sys)
	return k, nil
}

// withContext returns the result of f, or the error of ctx if ctx is done first.
// It then passes a later result of f to drop, unless drop is nil.
func withContext[T any](ctx context.Context, f func() (T, error), drop func(T)) (none T, _ error) {
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	value, inTime, err := await.InTime(ctx, f, drop)
	if !inTime {
		err = muteError(err)
	}
	return value, err
}

// muteError says that macOS did not respond before a context ended because of cause.
func muteError(cause error) error {
	err := fmt.Errorf("macOS did not respond: %w", cause)
	if errors.Is(cause, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", signer.ErrUnavailable, err)
	}
	return signer.WithHint(err, "answer the dialog of macOS, if there is one, or allow more time; "+hintToken)
}

// Public implements [crypto.Signer].
func (k *Key) Public() crypto.PublicKey { return k.pub }

// Chain implements [signer.Signer] with the certificates in the keychains.
func (k *Key) Chain() []*x509.Certificate { return k.certs.Chain }

// Certificates returns the certificates from the same places.
func (k *Key) Certificates() signer.Certificates { return k.certs }

// Ref returns a reference that opens this key again.
func (k *Key) Ref() keystore.Ref { return k.ref }

// SignatureSchemes implements [signer.SchemeLimiter]. It returns the schemes that
// macOS reported for the key when it was opened.
func (k *Key) SignatureSchemes() []tls.SignatureScheme {
	schemes := make([]tls.SignatureScheme, len(k.algorithms))
	for i, a := range k.algorithms {
		schemes[i] = a.scheme
	}
	return schemes
}

// PSSSaltLengths implements [signer.SaltLimiter]: the algorithms of macOS have a salt as
// long as the digest.
func (k *Key) PSSSaltLengths(hash crypto.Hash) []int { return []int{hash.Size()} }

// Sign implements [crypto.Signer]. It waits while macOS asks the user. It does
// not use the random source. A PSS salt is as long as the digest: any other
// length, including rsa.PSSSaltLengthAuto, fails with [errors.ErrUnsupported].
// Sign verifies the first signature; if another key made it, Sign fails with
// [signer.ErrMismatch].
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := signer.MechanismFor(k.pub, digest, opts)
	if err != nil {
		return nil, err
	}
	name, err := choose(k.algorithms, m)
	if err != nil {
		return nil, err
	}
	key := k.retain()
	if key == nil {
		return nil, signer.ErrClosed
	}
	defer key.Release()
	sig, err := key.Sign(name, digest)
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k.name, asError(err))
	}
	if err := k.proof.Check(k.pub, m, digest, sig); err != nil {
		return nil, signer.WithHint(fmt.Errorf("sign with %s: %w", k.name, err),
			"import the certificate again, together with its private key")
	}
	return sig, nil
}

// SignContext implements [signer.ContextSigner].
func (k *Key) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	digest = bytes.Clone(digest) // the call may outlive ctx
	return withContext(ctx, func() ([]byte, error) { return k.Sign(rand, digest, opts) }, nil)
}

// NeedsPerson implements [signer.Attended]: macOS may ask the user for permission
// or for a fingerprint before any signature.
func (k *Key) NeedsPerson() bool { return true }

// retain returns the key with a reference that the caller releases, or nil if k
// is closed.
func (k *Key) retain() native.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil {
		k.key.Retain()
	}
	return k.key
}

// Close implements [signer.Signer]. It does not wait: a call of Sign that waits
// for the user continues, and the last call to return releases the key.
func (k *Key) Close() error {
	k.mu.Lock()
	key := k.key
	k.key = nil
	k.mu.Unlock()
	if key != nil {
		key.Release()
	}
	return nil
}
