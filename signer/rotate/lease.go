package rotate

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/holdfast-dev/holdfast/signer"
)

// Acquire lends the current key with its certificates. The returned Signer
// keeps this key and these certificates until the borrower calls Close, even if
// a reload replaces them. Close returns the key and does not close it for other
// borrowers. It does not wait for a Sign in flight, which keeps the key open; a
// later Sign returns [signer.ErrClosed]. The result is a [signer.SchemeLimiter]
// if the key is one.
//
// If Sign fails with [signer.ErrUnavailable], the key is closed and the next
// Acquire opens it again, because some modules do not detect a reinserted token
// otherwise. If that attempt or the signature failed because of the PIN, Acquire
// does not try the PIN again before a reload or before one of Config.PINFiles has
// changed, so that it does not lock the token. If the
// certificate has expired, each Acquire tries a reload first, unless Config.KeyOnly
// is set. If that fails, it lends the expired certificate.
//
// If there is no key to lend, the error is as in [Identity.Reload].
func (i *Identity) Acquire(ctx context.Context) (signer.Signer, error) {
	now := i.config.Now()
	i.mu.Lock()
	closed, unavailable, attempts := i.closed, i.unavailable, i.attempts
	expired := !i.config.KeyOnly && now.After(i.current.key.Chain()[0].NotAfter)
	i.mu.Unlock()
	pinErr := i.standingRefusal()
	switch {
	case closed:
		return nil, signer.ErrClosed
	case unavailable && pinErr != nil:
		return nil, pinErr
	case unavailable:
		if err := i.reload(ctx, &attempts, slog.LevelDebug); err != nil { // the borrower reports the error
			return nil, err
		}
	case expired && pinErr == nil:
		_ = i.reload(ctx, &attempts, slog.LevelWarn) // the error is logged, and the expired certificate is lent
	}

	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.closed:
		return nil, signer.ErrClosed
	case i.unavailable: // another borrower's signature failed in the meantime
		return nil, i.withName(fmt.Errorf("%w: it was lost again after it was opened", signer.ErrUnavailable))
	}
	i.current.uses++
	l := &lease{Signer: i.current.key, generation: i.current, identity: i}
	if limiter, ok := l.Signer.(signer.SchemeLimiter); ok {
		return limitedLease{l, limiter}, nil
	}
	return l, nil
}

// A lease is one use of a generation.
type lease struct {
	signer.Signer
	generation *generation
	identity   *Identity
	closed     bool // guarded by identity.mu
}

type limitedLease struct {
	*lease
	signer.SchemeLimiter
}

func (l *lease) Certificates() signer.Certificates { return signer.CertificatesOf(l.Signer) }

func (l *lease) NeedsPerson() bool { return signer.NeedsPerson(l.Signer) }

func (l *lease) SignsMessagesOnly() bool { return signer.SignsMessagesOnly(l.Signer) }

func (l *lease) PSSSaltLengths(hash crypto.Hash) []int { return signer.PSSSaltLengths(l.Signer, hash) }

func (l *lease) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return l.sign(func() ([]byte, error) { return l.Signer.Sign(rand, digest, opts) })
}

func (l *lease) SignContext(ctx context.Context, rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return l.sign(func() ([]byte, error) { return signer.SignContext(ctx, l.Signer, rand, digest, opts) })
}

func (l *lease) SignMessage(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return l.sign(func() ([]byte, error) { return signer.SignMessage(context.Background(), l.Signer, rand, message, opts) })
}

func (l *lease) SignMessageContext(ctx context.Context, rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return l.sign(func() ([]byte, error) { return signer.SignMessage(ctx, l.Signer, rand, message, opts) })
}

// sign counts as a use of its own: the key stays open until the signature is
// made, even if the lease is closed in the meantime.
func (l *lease) sign(make func() ([]byte, error)) ([]byte, error) {
	i := l.identity
	i.mu.Lock()
	closed := l.closed
	if !closed {
		l.generation.uses++
	}
	i.mu.Unlock()
	if closed {
		return nil, signer.ErrClosed
	}
	defer i.release(l.generation)
	signature, err := make()
	i.signed(l.generation, err)
	if errors.Is(err, signer.ErrUnavailable) {
		i.markUnavailable(l.generation)
	}
	return signature, err
}

func (l *lease) Close() error {
	i := l.identity
	i.mu.Lock()
	closed := l.closed
	l.closed = true
	i.mu.Unlock()
	if !closed {
		i.release(l.generation)
	}
	return nil
}

// release ends one use of g and closes g if it is retired and no longer used.
func (i *Identity) release(g *generation) {
	i.mu.Lock()
	g.uses--
	idle := i.removeIdle(g)
	i.mu.Unlock()
	if idle {
		_ = i.close(g)
	}
}

// markUnavailable retires g if it is the current generation.
func (i *Identity) markUnavailable(g *generation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if g == i.current {
		g.retired, i.unavailable = true, true
	}
}

// GetCertificate is a value for [tls.Config.GetCertificate]: each handshake of
// a server uses the key that is current when the handshake begins. The signature ends
// with the context of the handshake, which has a deadline only if the caller of
// HandshakeContext gives it one.
func (i *Identity) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return i.certificate(hello.Context())
}

// GetClientCertificate is a value for [tls.Config.GetClientCertificate]: each
// handshake of a client uses the key that is current when the handshake begins. The
// signature ends with the context of the handshake, as of GetCertificate.
func (i *Identity) GetClientCertificate(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return i.certificate(request.Context())
}

// certificate lends the key until the context of the handshake ends.
func (i *Identity) certificate(handshake context.Context) (*tls.Certificate, error) {
	if handshake == nil { // crypto/tls did not make the request
		return nil, errors.New("rotate: the handshake has no context")
	}
	key, err := i.Acquire(handshake)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(handshake, func() { key.Close() })
	cert, err := signer.TLSCertificate(signer.WithContext(handshake, key)) // crypto/tls signs without a context
	if err != nil {
		return nil, err
	}
	return &cert, nil
}
