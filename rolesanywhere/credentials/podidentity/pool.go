package podidentity

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A Grant says which credentials a pod gets.
type Grant struct {
	// Key names the credentials: equal keys share them. It therefore contains
	// everything that Open depends on. It appears in logs.
	Key string

	RoleARN string // for clients; may be empty

	// Open returns the Source of the credentials. It is called once for each
	// Key that is not in the Pool, and again if it failed. It must not block.
	Open func() (credentials.Source, error)
}

// A Pool keeps the credentials of each Key in a [credentials.Cache]. Run renews them
// in the background for as long as pods use them: a Key that nobody asked for during
// the life of its credentials is dropped. The Pool has at most 10,000 keys; another one
// replaces the one that was not asked for longest.
//
// The zero value is ready for use. The fields must not be changed after the first use.
// The methods are safe for concurrent use.
type Pool struct {
	// Hold is how long a request without valid credentials waits; 0:
	// [DefaultHold].
	Hold time.Duration

	// Refused reports whether an error of a Source or of Open is final, so that
	// it is returned at once. nil: only a [*RefusedError] is.
	Refused func(error) bool

	Now    func() time.Time // the wall clock; nil: time.Now
	Logger *slog.Logger     // nil: discard

	mu       sync.Mutex
	entries  map[string]*entry
	running  context.Context // of Run; nil: it is not running
	renewals sync.WaitGroup  // goroutines of Run
}

const (
	maxKeys = 10_000

	// sweepInterval is how often idle keys are looked for.
	sweepInterval = 10 * time.Second
)

// Credentials returns the credentials of a Grant. It does not wait if there are valid
// ones. Otherwise it waits for them, at most for Hold and until ctx ends, and tries again
// after temporary errors when the Cache does. It then returns the last error.
func (p *Pool) Credentials(ctx context.Context, g Grant) (credentials.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, p.hold())
	defer cancel()
	_, c, err := p.get(ctx, g)
	return c, err
}

// get is Credentials without the limit of Hold. It also returns the entry of the Key.
func (p *Pool) get(ctx context.Context, g Grant) (*entry, credentials.Credentials, error) {
	e, isNew := p.entry(g)
	if isNew {
		e.open(p, g)
	}
	c, err := e.await(ctx, p.isRefused)
	return e, c, err
}

// entry returns the entry of a Key. The caller opens a new one.
func (p *Pool) entry(g Grant) (_ *entry, isNew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.entries[g.Key]
	if isNew = e == nil; isNew {
		if p.entries == nil {
			p.entries = make(map[string]*entry)
		}
		if len(p.entries) >= maxKeys {
			p.drop(slices.MinFunc(slices.Collect(maps.Values(p.entries)), func(a, b *entry) int { return a.asked.Compare(b.asked) }))
		}
		e = newEntry(p, g)
		p.entries[g.Key] = e
	}
	e.asked = time.Now()
	return e, isNew
}

// Run renews credentials until ctx ends, and returns ctx.Err(). Without Run, credentials
// are renewed only when somebody asks for them, and no key is dropped for being idle. Run
// must be called only once. Credentials that are valid are returned even after Run.
func (p *Pool) Run(ctx context.Context) error {
	p.mu.Lock()
	p.running = ctx
	for _, e := range p.entries {
		if e.opened {
			p.start(e)
		}
	}
	p.mu.Unlock()
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	for ctx.Err() == nil {
		select {
		case <-sweep.C:
			p.dropIf(func(e *entry) bool { return time.Since(e.asked) >= max(e.life, 2*p.hold()) })
		case <-ctx.Done():
		}
	}
	p.mu.Lock()
	p.running = nil
	p.mu.Unlock()
	p.renewals.Wait()
	return ctx.Err()
}

// start renews the credentials of an entry in the background, until it is dropped or Run
// ends. The caller holds p.mu, and Run is in progress.
func (p *Pool) start(e *entry) {
	ctx, cancel := context.WithCancel(p.running)
	stop := context.AfterFunc(e.ctx, cancel)
	p.renewals.Go(func() {
		defer cancel()
		defer stop()
		_ = e.cache.Run(ctx)
	})
}

// Keep drops all keys for which valid returns false, and cancels their renewals. Calls of
// Credentials that wait for them fail with a temporary error; a [Handler] asks for the
// Grant again. A dropped key that is still granted is opened again: change the mapping
// first. valid must not call methods of p.
func (p *Pool) Keep(valid func(key string) bool) {
	p.dropIf(func(e *entry) bool { return !valid(e.key) })
}

func (p *Pool) dropIf(condition func(*entry) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.entries {
		if condition(e) {
			p.drop(e)
		}
	}
}

// drop removes an entry and ends its renewals. The caller holds p.mu.
func (p *Pool) drop(e *entry) {
	if p.entries[e.key] == e {
		delete(p.entries, e.key)
	}
	e.cancel()
}

// A PoolStatus describes the state of one Key.
type PoolStatus struct {
	Key     string
	RoleARN string
	credentials.Status
}

// Status returns the state of all keys, sorted by Key.
func (p *Pool) Status() []PoolStatus {
	p.mu.Lock()
	all := make([]PoolStatus, 0, len(p.entries))
	for _, e := range p.entries {
		all = append(all, PoolStatus{e.key, e.roleARN, e.cache.Status()})
	}
	p.mu.Unlock()
	slices.SortFunc(all, func(a, b PoolStatus) int { return strings.Compare(a.Key, b.Key) })
	return all
}

func (p *Pool) isRefused(err error) bool {
	_, refused := errors.AsType[*RefusedError](err)
	return refused || p.Refused != nil && p.Refused(err)
}

func (p *Pool) hold() time.Duration {
	if p.Hold <= 0 {
		return DefaultHold
	}
	return p.Hold
}

func (p *Pool) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}
