package pkcs11

import (
	"errors"
	"fmt"
	"sync"

	"github.com/holdfast-dev/holdfast/signer"
)

// defaultMaxSessions is how many sessions one key opens for concurrent
// signatures, if the token allows them. More make no device faster.
const defaultMaxSessions = 8

// errRetired is what a pool gives whose connection was lost.
var errRetired = fmt.Errorf("connection was lost: %w", signer.ErrUnavailable)

// A pool is a set of sessions on one token, which grows with concurrency. A
// session that had an error is closed and not used again: an operation may
// still be active in it (PKCS #11 v3.1, section 5.1.7). It is safe for
// concurrent use, and never holds its lock while it asks the module.
type pool struct {
	open  func() (uint, error)
	close func(uint) error

	mu      sync.Mutex
	changed sync.Cond // with mu: a session became free, or room for one
	free    []uint
	count   int // open sessions, in use or free
	opening int // of them, those that are not open yet
	closing int // of them, those that are being closed
	limit   int
	retired bool // gives no sessions out
	drained bool // keeps none that come back
}

// newPool returns a pool that begins with one open session, which it owns.
func newPool(first uint, limit int, open func() (uint, error), close func(uint) error) *pool {
	p := &pool{open: open, close: close, free: []uint{first}, count: 1, limit: max(limit, 1)}
	p.changed.L = &p.mu
	return p
}

// get returns a session for the caller alone. It waits for one if the token
// gives no more.
func (p *pool) get() (uint, error) {
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
		case p.count >= p.limit:
			p.changed.Wait()
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
		p.limit = p.count // that is what the token has
	}
}

// put gives a session back, with the error that its use had. After one it is
// closed, the last one after another was opened in its place: with its last
// session a token logs the user out (PKCS #11 v3.1, section 5.6.8).
func (p *pool) put(s uint, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.changed.Broadcast()
	if err == nil && !p.drained {
		p.free = append(p.free, s)
		return
	}
	last := p.count-p.opening-p.closing == 1 && !p.drained
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
	case p.drained: // meanwhile
		p.count--
		_ = p.close(another)
	default:
		p.free = append(p.free, another)
	}
}

// discard closes a session, unless err says that it is closed: the module may
// have given the handle to another since.
func (p *pool) discard(s uint, err error) {
	if !removed(err) && !errors.Is(err, ckrSessionHandleInvalid) && !errors.Is(err, ckrSessionClosed) {
		_ = p.close(s) // it may be gone with its token
	}
}

// removed reports whether err says that the token went, and all its sessions
// with it (PKCS #11 v3.1, section 5.6.1). They are not closed once more: OpenSC
// has crashed on that.
func removed(err error) bool {
	return errors.Is(err, ckrDeviceRemoved) || errors.Is(err, ckrTokenNotPresent) || errors.Is(err, ckrSlotIDInvalid)
}

// retire stops giving sessions out, also to those that wait for one.
func (p *pool) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
	p.changed.Broadcast()
}

// forget retires p, whose sessions are gone with their token.
func (p *pool) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired, p.drained = true, true
	p.free, p.count = nil, p.count-len(p.free)
	p.changed.Broadcast()
}

// drain retires p and closes the free sessions, except one that has the handle
// keep. Those in use are closed as they come back.
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

// wait returns when no session of a pool that was drained is in use.
func (p *pool) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.count > 0 {
		p.changed.Wait()
	}
}
