package signer

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"sync"
	"time"
)

// Bind returns a Signer with the key of s and the certificates that
// [SelectCertificates] selects from certs at the time now. It returns the errors
// of SelectCertificates. The result owns s: its Close closes s. If Bind fails,
// the caller still owns s.
func Bind(s Signer, certs []*x509.Certificate, now time.Time) (Signer, error) {
	selected, err := SelectCertificates(s.Public(), certs, now)
	if err != nil {
		return nil, err
	}
	return WithCertificates(s, selected), nil
}

// WithCertificates returns a Signer with the key of s and the given
// certificates. It does not check that they are for the key. The result owns s.
func WithCertificates(s Signer, certs Certificates) Signer {
	b := bound{s, certs}
	if l, ok := s.(SchemeLimiter); ok {
		return limitedBound{b, l}
	}
	return b
}

type bound struct {
	Signer
	certs Certificates
}

func (b bound) Chain() []*x509.Certificate { return b.certs.Chain }
func (b bound) Certificates() Certificates { return b.certs }
func (b bound) NeedsPerson() bool          { return NeedsPerson(b.Signer) }
func (b bound) SignsMessagesOnly() bool    { return SignsMessagesOnly(b.Signer) }

func (b bound) PSSSaltLengths(hash crypto.Hash) []int { return PSSSaltLengths(b.Signer, hash) }

func (b bound) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return SignContext(ctx, b.Signer, rand, digest, opts)
}

func (b bound) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return SignMessage(context.Background(), b.Signer, rand, message, opts)
}

func (b bound) SignMessageContext(ctx context.Context, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return SignMessage(ctx, b.Signer, rand, message, opts)
}

type limitedBound struct {
	bound
	limiter SchemeLimiter
}

func (b limitedBound) SignatureSchemes() []tls.SignatureScheme { return b.limiter.SignatureSchemes() }

// FromKey returns an in-memory key as a Signer without certificates. The result
// owns key, drops its reference on Close, and checks every request with
// [MechanismFor].
func FromKey(key crypto.Signer) Signer {
	return &memory{key: key, pub: key.Public()}
}

type memory struct {
	pub crypto.PublicKey
	mu  sync.RWMutex
	key crypto.Signer // nil after Close
}

// Format implements [fmt.Formatter], so that no verb prints the numbers of the key.
func (m *memory) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, DescribeKey(m.pub), " key") }

func (m *memory) Public() crypto.PublicKey   { return m.pub }
func (m *memory) Chain() []*x509.Certificate { return nil }

func (m *memory) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return m.sign(digest, opts, func(key crypto.Signer) ([]byte, error) { return key.Sign(rand, digest, opts) })
}

// SignContext implements [ContextSigner]. A signature in memory is not
// interrupted.
func (m *memory) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return m.Sign(rand, digest, opts)
}

func (m *memory) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	digest, err := digestOf(message, opts)
	if err != nil {
		return nil, err
	}
	return m.sign(digest, opts, func(key crypto.Signer) ([]byte, error) {
		return crypto.SignMessage(key, rand, message, opts)
	})
}

// SignMessageContext implements [ContextMessageSigner]. A signature in memory is not
// interrupted.
func (m *memory) SignMessageContext(ctx context.Context, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return m.SignMessage(rand, message, opts)
}

func (m *memory) sign(digest []byte, opts crypto.SignerOpts, sign func(crypto.Signer) ([]byte, error)) ([]byte, error) {
	if _, err := MechanismFor(m.pub, digest, opts); err != nil {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.key == nil {
		return nil, ErrClosed
	}
	return sign(m.key)
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.key = nil
	return nil
}
