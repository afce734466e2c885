package role

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A chained is the source of a second role's credentials. It uses a session of the first
// role as long as that is valid, so that not every renewal needs a signature.
type chained struct {
	credentials.Source // of the second role
	first              *firstRole
}

// newChained returns the source for a second role. certificate returns the current one,
// with which first creates sessions.
func newChained(chain flags.Chain, config rolesanywhere.Config, first credentials.Source, certificate func() *x509.Certificate) (credentials.Source, error) {
	f := &firstRole{
		source: first, certificate: certificate, now: config.Now,
		reserve: cmp.Or(config.Timeout, rolesanywhere.DefaultTimeout),
	}
	if f.now == nil {
		f.now = time.Now
	}
	second, err := chain.Source(config, f)
	return chained{second, f}, err
}

// Credentials implements [credentials.Source]. If STS refuses a session that was used
// before, a new one is tried at once: the session can be the cause, because it was revoked,
// or its role was created again, or the clock was set back.
func (c chained) Credentials(ctx context.Context) (credentials.Credentials, error) {
	creds, err := c.Source.Credentials(ctx)
	if isRefused(err) && c.first.forget() {
		creds, err = c.Source.Credentials(ctx)
		if isRefused(err) {
			c.first.forget()
		}
	}
	return creds, err
}

func isRefused(err error) bool {
	refused, ok := errors.AsType[*rolesanywhere.APIError](err)
	return ok && refused.StatusCode == http.StatusForbidden
}

// A firstRole is the source of a first role's sessions. It is safe for concurrent use.
type firstRole struct {
	source      credentials.Source
	certificate func() *x509.Certificate
	now         func() time.Time
	reserve     time.Duration // how long a session must be valid to be used again

	mu      sync.Mutex
	session credentials.Credentials
	of      *x509.Certificate // of the session; nil: there is none
	reused  bool              // the last call returned a session of an earlier one
}

// Credentials implements [credentials.Source]. A session is only for the certificate with
// which it was created.
func (f *firstRole) Credentials(ctx context.Context) (credentials.Credentials, error) {
	certificate := f.certificate()
	f.mu.Lock()
	session, usable := f.session, f.of != nil && f.of.Equal(certificate) && f.session.Check(f.now().Add(f.reserve)) == nil
	f.reused = usable
	f.mu.Unlock()
	if usable {
		return session, nil
	}
	session, err := f.source.Credentials(ctx)
	if err != nil {
		return session, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.session, f.of = session, certificate
	return session, nil
}

// forget forgets the session, and reports whether it was reused.
func (f *firstRole) forget() (reused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reused = f.reused
	f.session, f.of, f.reused = credentials.Credentials{}, nil, false
	return reused
}
