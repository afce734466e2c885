package podidentity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/container"
)

// An entry has the credentials of one Key. It is the Source of its own Cache, so that a
// renewal ends when the entry is dropped.
type entry struct {
	key, roleARN string
	cache        credentials.Cache
	encoded      credentials.Encoded

	ctx    context.Context // ends when the entry is dropped
	cancel context.CancelFunc

	ready  chan struct{} // closed when the next two are set
	source credentials.Source
	err    error // of Grant.Open

	// These are guarded by the mutex of the Pool.
	opened bool
	asked  time.Time     // when somebody asked for the credentials
	life   time.Duration // of the last credentials
}

// lifeWithout is when a key that never had credentials is dropped: later than a client
// that waits for them asks again.
const lifeWithout = 5 * time.Minute

// errDropped is the error of requests whose entry was dropped while they waited.
var errDropped = errors.New("the credentials are no longer provided in this way")

func newEntry(p *Pool, g Grant) *entry {
	e := &entry{key: g.Key, roleARN: g.RoleARN, ready: make(chan struct{}), life: lifeWithout}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.cache = credentials.Cache{
		Source: e, Now: p.Now, Logger: logging.OrDiscard(p.Logger).With("key", g.Key, "role", g.RoleARN),
		Renewed: func(c credentials.Credentials, err error) {
			if err == nil {
				p.mu.Lock()
				e.life = c.Expires.Sub(p.now())
				p.mu.Unlock()
			}
		},
	}
	return e
}

// open opens the Source of a new entry. If that fails, the entry is dropped, so that the
// next request tries again.
func (e *entry) open(p *Pool, g Grant) {
	defer close(e.ready)
	e.source, e.err = g.Open()
	if e.err == nil && e.source == nil {
		e.err = fmt.Errorf("%s has no source of credentials", g.Key)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.err != nil {
		p.drop(e)
		return
	}
	e.opened = true
	if p.running != nil && e.ctx.Err() == nil {
		p.start(e)
	}
}

// await returns the credentials. It waits for them until ctx ends or the error is final.
func (e *entry) await(ctx context.Context, isRefused func(error) bool) (credentials.Credentials, error) {
	select {
	case <-e.ready:
	case <-ctx.Done():
		return credentials.Credentials{}, ctx.Err()
	}
	if e.err != nil {
		return credentials.Credentials{}, e.err
	}
	var last error
	for e.ctx.Err() == nil {
		c, err := e.cache.Credentials(ctx)
		switch {
		case e.ctx.Err() != nil:
			return credentials.Credentials{}, errDropped
		case err == nil || isRefused(err):
			return c, err
		case ctx.Err() == nil || last == nil: // otherwise only the wait ended
			last = err
		}
		retry := time.NewTimer(e.untilRetry())
		select {
		case <-retry.C:
		case <-ctx.Done():
		case <-e.ctx.Done():
		}
		retry.Stop()
		if ctx.Err() != nil {
			return credentials.Credentials{}, last
		}
	}
	return credentials.Credentials{}, errDropped
}

// untilRetry returns when the Cache calls the Source again after a failure.
func (e *entry) untilRetry() time.Duration {
	const minimum = 50 * time.Millisecond // for a Source that does not return
	status := e.cache.Status()
	return max(status.Next.Sub(e.now()), minimum)
}

func (e *entry) now() time.Time {
	if e.cache.Now == nil {
		return time.Now()
	}
	return e.cache.Now()
}

// Credentials implements [credentials.Source] for the Cache.
func (e *entry) Credentials(ctx context.Context) (credentials.Credentials, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	if e.ctx.Err() != nil {
		return credentials.Credentials{}, errDropped
	}
	return e.source.Credentials(ctx)
}

func (e *entry) encode(c credentials.Credentials) ([]byte, error) {
	return container.Encode(c, e.roleARN)
}
