package keychain

import (
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

// A Key is a private key of a keychain. It is a [signer.Signer] and a
// [signer.SchemeLimiter], safe for concurrent use.
type Key struct {
	ref, name  keystore.Ref // opens it; names it in errors
	pub        crypto.PublicKey
	chain      []*x509.Certificate
	algorithms []algorithm

	mu  sync.Mutex
	key native.Key // nil once closed
}

// Open opens the key of the one identity that cfg names. The caller closes it.
// macOS may ask the user and cannot be interrupted: when ctx is done Open
// returns, and what was opened is closed when macOS answers.
func Open(ctx context.Context, cfg Config) (*Key, error) {
	sys, err := system()
	if err != nil {
		return nil, err
	}
	return open(ctx, cfg, sys)
}

func open(ctx context.Context, cfg Config, sys native.System) (*Key, error) {
	return answer(ctx, func() (*Key, error) { return openNow(cfg, sys) }, func(k *Key) { _ = k.Close() })
}

func openNow(cfg Config, sys native.System) (*Key, error) {
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
		return nil, fmt.Errorf("key of %s: %w", id.ref, asError(err))
	}
	k := &Key{ref: id.ref, name: cmp.Or(cfg.Ref, id.ref), pub: id.cert.PublicKey, key: key}
	if k.algorithms = algorithmsFor(k.pub, key.Supports); len(k.algorithms) == 0 {
		key.Release()
		return nil, signer.WithHint(fmt.Errorf("%s may not sign: %w", id.ref, errors.ErrUnsupported),
			"name the identity for signing; some cards have others for decryption")
	}
	k.chain = chainOf(id.cert, cfg, sys)
	return k, nil
}

// answer returns what f returns, or the error of ctx once that is done. drop
// gets what f returns after that; nil discards it.
func answer[T any](ctx context.Context, f func() (T, error), drop func(T)) (T, error) {
	value, answered, err := await.InTime(ctx, f, drop)
	if !answered {
		err = fmt.Errorf("macOS has not answered: %w", ctx.Err())
	}
	return value, err
}

// Public implements [crypto.Signer].
func (k *Key) Public() crypto.PublicKey { return k.pub }

// Chain implements [signer.Signer] with the certificates in the keychains.
func (k *Key) Chain() []*x509.Certificate { return k.chain }

// Ref returns a reference that opens this key again.
func (k *Key) Ref() keystore.Ref { return k.ref }

// SignatureSchemes implements [signer.SchemeLimiter] with what macOS said of
// the key when it was opened.
func (k *Key) SignatureSchemes() []tls.SignatureScheme {
	schemes := make([]tls.SignatureScheme, len(k.algorithms))
	for i, a := range k.algorithms {
		schemes[i] = a.scheme
	}
	return schemes
}

// Sign implements [crypto.Signer]. It waits while macOS asks the user. The
// random source is not used. PSS is made with a salt as long as the digest;
// another length, and so rsa.PSSSaltLengthAuto, is [errors.ErrUnsupported].
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
	return sig, nil
}

// retain returns the key with a reference for the caller; nil if k is closed.
func (k *Key) retain() native.Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.key != nil {
		k.key.Retain()
	}
	return k.key
}

// Close implements [signer.Signer]. It does not wait: a Sign that waits for the
// user goes on, and the key is released when the last one has returned.
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
