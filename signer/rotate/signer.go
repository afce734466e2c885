package rotate

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"io"
	"sync/atomic"

	"github.com/holdfast-dev/holdfast/signer"
)

// Signer returns a Signer that always is the current key, for programs and libraries
// that keep a [crypto.Signer] for their whole life. Each signature acquires the key as
// [Identity.Acquire] does, which may open it again.
//
// Public and Chain are those of the key at that moment, so a signature that follows
// can be one of the next key. Use Acquire, GetCertificate or GetClientCertificate where
// they must belong together, such as for a certificate request or a TLS handshake.
//
// Sign waits for the device as long as the key does; see [signer.WithTimeout].
//
// Close ends the use of this Signer and leaves the Identity open. The result is a
// [signer.SchemeLimiter] if the key is one now.
func (i *Identity) Signer() signer.Signer {
	c := &current{identity: i}
	if _, ok := i.currentKey().(signer.SchemeLimiter); ok {
		return limitedCurrent{c}
	}
	return c
}

func (i *Identity) currentKey() signer.Signer {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current.key
}

// A current is the key that is current when a method is called.
type current struct {
	identity *Identity
	closed   atomic.Bool
}

func (c *current) Public() crypto.PublicKey   { return c.identity.currentKey().Public() }
func (c *current) Chain() []*x509.Certificate { return c.identity.Chain() }
func (c *current) NeedsPerson() bool          { return signer.NeedsPerson(c.identity.currentKey()) }
func (c *current) SignsMessagesOnly() bool {
	return signer.SignsMessagesOnly(c.identity.currentKey())
}
func (c *current) Certificates() signer.Certificates {
	return signer.CertificatesOf(c.identity.currentKey())
}
func (c *current) PSSSaltLengths(hash crypto.Hash) []int {
	return signer.PSSSaltLengths(c.identity.currentKey(), hash)
}

func (c *current) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return c.use(c.identity.done, func(key signer.Signer) ([]byte, error) { return key.Sign(rand, digest, opts) })
}

func (c *current) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return c.use(c.identity.done, func(key signer.Signer) ([]byte, error) {
		return signer.SignMessage(context.Background(), key, rand, message, opts)
	})
}

func (c *current) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return c.use(ctx, func(key signer.Signer) ([]byte, error) { return signer.SignContext(ctx, key, rand, digest, opts) })
}

func (c *current) SignMessageContext(ctx context.Context, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return c.use(ctx, func(key signer.Signer) ([]byte, error) { return signer.SignMessage(ctx, key, rand, message, opts) })
}

func (c *current) use(ctx context.Context, sign func(signer.Signer) ([]byte, error)) ([]byte, error) {
	if c.closed.Load() {
		return nil, signer.ErrClosed
	}
	key, err := c.identity.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer key.Close() // returns the lease, without an error
	return sign(key)
}

func (c *current) Close() error {
	c.closed.Store(true)
	return nil
}

type limitedCurrent struct{ *current }

// SignatureSchemes returns nil if the key is no [signer.SchemeLimiter] any more.
func (c limitedCurrent) SignatureSchemes() []tls.SignatureScheme {
	if l, ok := c.identity.currentKey().(signer.SchemeLimiter); ok {
		return l.SignatureSchemes()
	}
	return nil
}
