// Package service has the parts that the commands which serve HTTP share: it lets
// requests wait, listens, and writes the responses of status endpoints. Within
// Holdfast, it imports front and the libraries.
package service

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// MaxHold is the maximum time that a request may be held. The time limit of
// loopback.Server for a response is longer.
const MaxHold = 10 * time.Second

// A Gate passes requests to the handler that Open sets. Before that, it responds
// with status 503. Its fields must not be changed after the first request. Make it
// with NewGate. It is safe for concurrent use.
type Gate struct {
	// Hold is how long a request for which Holds reports true waits: for Open, and
	// in the handler, whose context ends after this time. 0: it does not wait.
	Hold  time.Duration
	Holds func(*http.Request) bool // nil: all requests wait

	opened  chan struct{}
	handler http.Handler // set before opened is closed
	once    sync.Once
}

// NewGate returns a Gate that is not open. hold and holds are its fields.
func NewGate(hold time.Duration, holds func(*http.Request) bool) *Gate {
	return &Gate{Hold: hold, Holds: holds, opened: make(chan struct{})}
}

// Open sets the handler. Only the first call has an effect.
func (g *Gate) Open(h http.Handler) {
	g.once.Do(func() {
		g.handler = h
		close(g.opened)
	})
}

// ServeHTTP implements [http.Handler].
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.Hold > 0 && (g.Holds == nil || g.Holds(r)) {
		ctx, cancel := context.WithTimeout(r.Context(), g.Hold)
		defer cancel()
		r = r.WithContext(ctx)
		select {
		case <-g.opened:
		case <-ctx.Done():
		}
	}
	select {
	case <-g.opened:
		g.handler.ServeHTTP(w, r)
	default:
		w.Header().Set("Retry-After", "1")
		WriteJSON(w, http.StatusServiceUnavailable, map[string]string{
			"Code": "CredentialsNotAvailable", "Message": "holdfast is still opening its keys",
		})
	}
}

// minPause limits how often Wait asks a Cache that starts no attempts any more.
const minPause = 50 * time.Millisecond

// Wait returns the credentials of c, whose clock is now. If there are no valid ones,
// it waits for the next attempts to obtain some until ctx, which must have a
// deadline, ends, and then returns the error of the last attempt.
func Wait(ctx context.Context, c *credentials.Cache, now func() time.Time) (credentials.Credentials, error) {
	for {
		creds, err := c.Credentials(ctx)
		if err == nil {
			return creds, nil
		}
		retry := time.NewTimer(max(minPause, c.Status().Next.Sub(now())))
		select {
		case <-retry.C:
		case <-ctx.Done():
		}
		retry.Stop()
		if ctx.Err() != nil {
			return creds, err
		}
	}
}
