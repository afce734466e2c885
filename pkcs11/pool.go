package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/holdfast-dev/holdfast/signer"
)

// defaultMaxSessions is the default for Config.MaxSessions. More sessions do
// not make a device faster.
const defaultMaxSessions = 8

// errRetired is the error of get after the connection of the pool was lost.
var errRetired error = retired{}

type retired struct{}

func (retired) Error() string { return "connection was lost: " + signer.ErrUnavailable.Error() }
func (retired) Unwrap() error { return signer.ErrUnavailable }

// A pool contains sessions on one token. It opens sessions when they are needed
// at the same time. After an error in a session, the pool closes the session,
// because an operation may still be active in it (PKCS #11 v3.1, section
// 5.1.7). A pool is safe for concurrent use. It does not hold its lock while it
// calls the module.
type pool struct {
	open  func() (uint, error)
	close func(uint) error

	mu      sync.Mutex
	changed sync.Cond // uses mu; signals that get can look again
	free    []uint
	count   int // sessions in use, free, being opened or being closed
	opening int // sessions being opened
	closing int // sessions being closed
	limit   int
	retired bool // get returns errRetired
	drained bool // put closes each session
}

// newPool returns a pool with one open session, which the pool owns.
func newPool(first uint, limit int, open func() (uint, error), close func(uint) error) *pool {
	p := &pool{open: open, close: close, free: []uint{first}, count: 1, limit: max(limit, 1)}
	p.changed.L = &p.mu
	return p
}

// get returns a session that only the caller uses. It waits if the limit is
// reached or the token does not open more sessions, until ctx ends.
func (p *pool) get(ctx context.Context) (uint, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		n := len(p.free)
		switch {
		case p.retired:
			return 0, errRetired
		case n > 0:
			s := p.free[n-1]
			p.free = p.free[:n-1]
			return s, nil
		case p.count >= p.limit && ctx.Err() != nil:
			return 0, signer.WithHint(fmt.Errorf("wait for other signatures: %w", context.Cause(ctx)), hintWait)
		case p.count >= p.limit:
			waitFor(ctx, &p.changed)
			continue
		}
		p.count++
		p.opening++
		p.mu.Unlock()
		s, err := p.open()
		p.mu.Lock()
		p.opening--
		if err == nil {
			return s, nil
		}
		p.count--
		p.changed.Broadcast()
		if !errors.Is(err, ckrSessionCount) || p.count == 0 {
			return 0, err
		}
		p.limit = p.count // the limit of the token
	}
}

// put returns a session to the pool; err is the error of its use. After an
// error put closes the session. If it is the last session, put first opens
// another one, because a token logs the user out when its last session is
// closed (PKCS #11 v3.1, section 5.6.8). It does not if the token was removed, which
// logs the user out, too.
func (p *pool) put(s uint, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.changed.Broadcast()
	if err == nil && !p.drained {
		p.free = append(p.free, s)
		return
	}
	last := p.count-p.opening-p.closing == 1 && !p.drained && !removed(err)
	p.closing++
	p.mu.Unlock()
	var another uint
	openErr := errRetired
	if last {
		another, openErr = p.open()
	}
	p.discard(s, err)
	p.mu.Lock()
	p.closing--
	switch {
	case openErr != nil:
		p.count--
	case p.drained: // while the session was being opened
		p.count--
		_ = p.close(another)
	default:
		p.free = append(p.free, another)
	}
}

// discard closes a session unless err means that it is already closed. The
// module may have assigned the handle to another session since then.
func (p *pool) discard(s uint, err error) {
	if !removed(err) && !errors.Is(err, ckrSessionHandleInvalid) && !errors.Is(err, ckrSessionClosed) {
		_ = p.close(s) // fails if the token was removed
	}
}

// removed reports whether err means that the token was removed. The module has
// then closed all sessions (PKCS #11 v3.1, section 5.6.1). Closing them again
// has crashed OpenSC.
func removed(err error) bool {
	return errors.Is(err, ckrDeviceRemoved) || errors.Is(err, ckrTokenNotPresent) || errors.Is(err, ckrSlotIDInvalid)
}

// isRetired reports whether the connection was lost.
func (p *pool) isRetired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retired
}

// retire makes get return errRetired, also in calls that are waiting.
func (p *pool) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
	p.changed.Broadcast()
}

// forget retires p and drops the free sessions without closing them. The token
// was removed.
func (p *pool) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired, p.drained = true, true
	p.free, p.count = nil, p.count-len(p.free)
	p.changed.Broadcast()
}

// drain retires p and closes the free sessions, except the one with the handle
// keep. put closes the sessions in use.
func (p *pool) drain(keep uint) error {
	p.mu.Lock()
	free := p.free
	p.retired, p.drained = true, true
	p.free, p.count = nil, p.count-len(free)
	p.changed.Broadcast()
	p.mu.Unlock()
	var errs []error
	for _, s := range free {
		if s != keep {
			errs = append(errs, p.close(s))
		}
	}
	return errors.Join(errs...)
}

// wait waits until no session of a drained pool is in use.
func (p *pool) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.count > 0 {
		p.changed.Wait()
	}
}
