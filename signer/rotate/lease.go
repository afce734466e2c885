package rotate

import (
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-dev/holdfast/signer"
)

// Acquire lends the key in use with its certificates, which stay together until
// the borrower calls Close, whatever is opened meanwhile. Close gives the key
// back and does not close it for others. It does not wait for a Sign in flight,
// for which the key stays open; a later Sign returns [signer.ErrClosed]. The
// result is a [signer.SchemeLimiter] if the key is one.
//
// A key whose Sign failed with [signer.ErrUnavailable] is closed, and opened
// again by the next Acquire: some modules notice a token that is back in no
// other way. A PIN that is refused then is not tried again until somebody asks
// for a reload, lest the token is locked. A certificate that has expired is
// looked for anew by each Acquire; if there is no better one, it is lent all the
// same.
//
// Errors are those of [Identity.Reload], if there is no key without one.
func (i *Identity) Acquire(ctx context.Context) (signer.Signer, error) {
	now := i.config.Now()
	i.mu.Lock()
	closed, gone, refused, attempts := i.closed, i.gone, i.refused, i.attempts
	expired := now.After(i.current.key.Chain()[0].NotAfter)
	i.mu.Unlock()
	switch {
	case closed:
		return nil, signer.ErrClosed
	case gone && refused != nil:
		return nil, refused
	case gone:
		if err := i.reload(ctx, &attempts); err != nil {
			return nil, err
		}
	case expired && refused == nil:
		_ = i.reload(ctx, &attempts) // it is logged, and what is there says the rest
	}

	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.closed:
		return nil, signer.ErrClosed
	case i.gone: // another borrower lost it in between
		return nil, i.named(fmt.Errorf("%w: it was lost again", signer.ErrUnavailable))
	}
	i.current.uses++
	l := &lease{Signer: i.current.key, pair: i.current, identity: i}
	if limiter, ok := l.Signer.(signer.SchemeLimiter); ok {
		return limitedLease{l, limiter}, nil
	}
	return l, nil
}

// A lease is one use of a pair.
type lease struct {
	signer.Signer
	pair     *pair
	identity *Identity
	ended    bool // by the lock of identity
}

type limitedLease struct {
	*lease
	signer.SchemeLimiter
}

// Sign is a use of its own: the key stays open until it returns, also if the
// lease is closed meanwhile.
func (l *lease) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	i := l.identity
	i.mu.Lock()
	ended := l.ended
	if !ended {
		l.pair.uses++
	}
	i.mu.Unlock()
	if ended {
		return nil, signer.ErrClosed
	}
	defer i.release(l.pair)
	signature, err := l.Signer.Sign(rand, digest, opts)
	if errors.Is(err, signer.ErrUnavailable) {
		i.giveUp(l.pair)
	}
	return signature, err
}

func (l *lease) Close() error {
	i := l.identity
	i.mu.Lock()
	ended := l.ended
	l.ended = true
	i.mu.Unlock()
	if !ended {
		i.release(l.pair)
	}
	return nil
}

// release ends one use of a key.
func (i *Identity) release(p *pair) {
	i.mu.Lock()
	p.uses--
	idle := i.takeIdle(p)
	i.mu.Unlock()
	if idle {
		_ = i.close(p)
	}
}

// giveUp has a key closed after its last use, since its device is away.
func (i *Identity) giveUp(p *pair) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if p == i.current {
		p.retired, i.gone = true, true
	}
}

// GetCertificate is for the field of that name of a [tls.Config]: each handshake
// of a server signs with the key that is in use when it begins.
func (i *Identity) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return i.certificate(hello.Context())
}

// GetClientCertificate is for the field of that name of a [tls.Config]: each
// handshake of a client signs with the key that is in use when it begins.
func (i *Identity) GetClientCertificate(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return i.certificate(request.Context())
}

// certificate lends the key until handshake ends, which is when the handshake
// does.
func (i *Identity) certificate(handshake context.Context) (*tls.Certificate, error) {
	if handshake == nil { // of a request that crypto/tls did not make
		return nil, errors.New("rotate: the handshake has no context, which says when the key is given back")
	}
	key, err := i.Acquire(handshake)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(handshake, func() { key.Close() })
	cert, err := signer.TLSCertificate(key)
	if err != nil {
		return nil, err
	}
	return &cert, nil
}
