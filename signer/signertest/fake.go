package signertest

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/holdfast-dev/holdfast/signer"
)

// A Fake is a [signer.Signer] with an in-memory key, for tests that need a
// signature to fail or to block, or that count calls. It follows the contract
// of Signer, so it is safe for concurrent use. It must not be copied after its
// first use, and its exported fields must not be changed after that.
type Fake struct {
	Key          crypto.Signer
	Certificates []*x509.Certificate // returned by Chain

	// OnSign, unless nil, is called before the n-th signature, counted from
	// 1. If it returns an error, Sign returns that error. It may block,
	// like a key that waits for a touch. Close waits for it, so it must
	// call neither Sign nor Close. It is called concurrently if Sign is.
	OnSign func(n int) error

	signs, closes atomic.Int64
	inFlight      sync.RWMutex // read-held by Sign
}

// Public returns the public key of f.Key.
func (f *Fake) Public() crypto.PublicKey { return f.Key.Public() }

// Chain returns f.Certificates.
func (f *Fake) Chain() []*x509.Certificate { return f.Certificates }

// Sign signs with the key. It fails if the request is invalid, if f is closed
// or if OnSign fails.
func (f *Fake) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, err := signer.MechanismFor(f.Public(), digest, opts); err != nil {
		return nil, err
	}
	f.inFlight.RLock()
	defer f.inFlight.RUnlock()
	if f.closes.Load() > 0 {
		return nil, signer.ErrClosed
	}
	n := f.signs.Add(1)
	if f.OnSign != nil {
		if err := f.OnSign(int(n)); err != nil {
			return nil, err
		}
	}
	return f.Key.Sign(rand, digest, opts)
}

// Close waits for Sign calls in flight. It never fails and keeps the key.
func (f *Fake) Close() error {
	f.inFlight.Lock()
	defer f.inFlight.Unlock()
	f.closes.Add(1)
	return nil
}

// Signs returns the number of signatures that were started, which is the n of
// the last OnSign. Invalid requests and requests after Close do not count.
func (f *Fake) Signs() int { return int(f.signs.Load()) }

// Closes returns the number of completed calls of Close.
func (f *Fake) Closes() int { return int(f.closes.Load()) }

// A MessageFake is a [Fake] like a key in an agent: it signs whole messages with
// SignMessage, and its Sign refuses every request with [errors.ErrUnsupported].
type MessageFake struct{ Fake }

// Sign fails.
func (f *MessageFake) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, fmt.Errorf("a digest instead of a message: %w", errors.ErrUnsupported)
}

// SignMessage is [Fake.Sign] for the message of a digest. It implements
// [crypto.MessageSigner].
func (f *MessageFake) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return signer.SignMessage(context.Background(), &f.Fake, rand, message, opts)
}

// A LimitedFake is a [Fake] that is a [signer.SchemeLimiter]: it signs only
// with the schemes in Schemes and refuses others with [errors.ErrUnsupported].
type LimitedFake struct {
	Fake
	Schemes []tls.SignatureScheme
}

// SignatureSchemes returns f.Schemes.
func (f *LimitedFake) SignatureSchemes() []tls.SignatureScheme { return f.Schemes }

// Sign is [Fake.Sign], limited to f.Schemes.
func (f *LimitedFake) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := signer.MechanismFor(f.Public(), digest, opts)
	if err != nil {
		return nil, err
	}
	if scheme := schemeFor(m); scheme == 0 || !slices.Contains(f.Schemes, scheme) {
		return nil, fmt.Errorf("padding %v with %v and a salt of %d bytes: %w", m.Padding, m.Hash, m.SaltLen, errors.ErrUnsupported)
	}
	return f.Fake.Sign(rand, digest, opts)
}

// schemeFor returns the TLS code point of m, or 0 if it has none. PSS has code
// points only for a salt as long as the hash.
func schemeFor(m signer.Mechanism) tls.SignatureScheme {
	if m.Padding == signer.PSS && m.SaltLen != m.Hash.Size() {
		return 0
	}
	for _, s := range schemes {
		if s.padding == m.Padding && s.hash == m.Hash {
			return s.tls
		}
	}
	return 0
}
