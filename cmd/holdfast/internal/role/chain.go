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

// Credentials implements [credentials.Source].
func (c chained) Credentials(ctx context.Context) (credentials.Credentials, error) {
	creds, err := c.Source.Credentials(ctx)
	var refused *rolesanywhere.APIError
	if errors.As(err, &refused) && refused.StatusCode == http.StatusForbidden {
		// The session may be the cause: its role was created again, or it was revoked.
		c.first.forget()
	}
	return creds, err
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
}

// Credentials implements [credentials.Source]. A session is only for the certificate with
// which it was created.
func (f *firstRole) Credentials(ctx context.Context) (credentials.Credentials, error) {
	certificate := f.certificate()
	f.mu.Lock()
	session, usable := f.session, f.of != nil && f.of.Equal(certificate) && f.session.Check(f.now().Add(f.reserve)) == nil
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

func (f *firstRole) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.session, f.of = credentials.Credentials{}, nil
}
