package signertest

import (
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

// A Fake is a [signer.Signer] over a key in memory, for tests that need a
// device to fail, to wait or to be counted. It keeps the contract of Signer, so
// it is safe for concurrent use, and must not be copied after its first use.
// The exported fields must not be changed after that either.
type Fake struct {
	Key          crypto.Signer
	Certificates []*x509.Certificate // what Chain returns

	// OnSign, if not nil, is called before the n-th signature, counted from 1.
	// Its error is returned instead of a signature. It may block, as a key
	// does that waits for a touch, and Close waits for it; so it must call
	// neither Sign nor Close. It is called from several goroutines at once if
	// Sign is.
	OnSign func(n int) error

	signs, closes atomic.Int64
	inFlight      sync.RWMutex // read-held by Sign
}

// Public is the key's.
func (f *Fake) Public() crypto.PublicKey { return f.Key.Public() }

// Chain returns f.Certificates.
func (f *Fake) Chain() []*x509.Certificate { return f.Certificates }

// Sign signs with the key, unless the request is bad, f is closed, or OnSign
// has an error.
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

// Close waits for Sign calls in flight. It never fails, and does not destroy
// the key.
func (f *Fake) Close() error {
	f.inFlight.Lock()
	defer f.inFlight.Unlock()
	f.closes.Add(1)
	return nil
}

// Signs returns how many signatures were begun: the n of the last OnSign.
// Requests that are bad or come after Close do not count.
func (f *Fake) Signs() int { return int(f.signs.Load()) }

// Closes returns how many times Close has done its work.
func (f *Fake) Closes() int { return int(f.closes.Load()) }

// A LimitedFake is a [Fake] that is a [signer.SchemeLimiter]: of the
// signatures that its key type allows it makes only those of Schemes, and
// refuses others with [errors.ErrUnsupported].
type LimitedFake struct {
	Fake
	Schemes []tls.SignatureScheme
}

// SignatureSchemes returns f.Schemes.
func (f *LimitedFake) SignatureSchemes() []tls.SignatureScheme { return f.Schemes }

// Sign is [Fake.Sign] within f.Schemes.
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

// schemeFor returns the code point of m, or 0 if it has none: PSS has one only
// for a salt as long as the hash.
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
