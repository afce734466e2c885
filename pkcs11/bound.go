package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	// grace is how long a call that is bound to a context may take to
	// return after the context ends, for example to restore a terminal.
	grace = 100 * time.Millisecond

	// closeTimeout bounds the calls that need no context: closing sessions,
	// finalizing the module and reading the mechanisms.
	closeTimeout = 2 * time.Second

	// lastSignatures bounds the wait of Close for signatures in progress. A
	// card needs up to 2 seconds for one.
	lastSignatures = 5 * time.Second
)

// bounded is [inTime], but does not call f if ctx has ended before.
func bounded[T any](ctx context.Context, of awaited, f func() (T, error), late func(T)) (none T, _ error) {
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	return inTime(ctx, of, f, late)
}

// inTime returns the result of f. If f does not return soon after ctx ends,
// because the module does not answer, inTime returns an error that names the module.
// f then continues in its goroutine; late gets the result of its success.
func inTime[T any](ctx context.Context, of awaited, f func() (T, error), late func(T)) (T, error) {
	if ctx.Done() == nil {
		return f()
	}
	begun, done := time.Now(), make(chan struct{})
	value, ok, err := await.InGrace(ctx, grace, func() (T, error) {
		defer close(done)
		return f()
	}, late)
	if !ok {
		err = &muteError{of.what(), of.isolated(), err}
		of.abandon(abandoned{begun, done})
	}
	return value, err
}

// An abandoned is work with a module for which nobody waits any more.
type abandoned struct {
	begun time.Time       // no call of the module for it is older
	done  <-chan struct{} // closed when it has ended all the same
}

// An awaited is a module, or a token in it, whose answer is awaited.
type awaited struct {
	what     func() string   // its name for errors
	abandon  func(abandoned) // called if nobody waits any more
	isolated func() bool     // it is in a helper process
}

// in returns the module of c in table.
func (c Config) in(table *modules) awaited {
	isolated := func() bool {
		program, err := helperFor(c.isolation())
		return err == nil && program != ""
	}
	return awaited{c.what, func(a abandoned) { table.abandon(c, a) }, isolated}
}

// awaited returns the token of k.
func (k *Key) awaited() awaited { return awaited{k.what, k.mod.abandon, k.mod.isIsolated} }

// A muteError reports that a call of the module did not return in time. After a
// deadline the device counts as unavailable, but not if the caller gave up.
type muteError struct {
	what     string
	isolated bool // the module is in a helper process, which is ended
	cause    error
}

func (e *muteError) Error() string { return e.what + " does not answer: " + e.cause.Error() }

func (e *muteError) Unwrap() []error {
	if errors.Is(e.cause, context.DeadlineExceeded) {
		return []error{e.cause, signer.ErrUnavailable}
	}
	return []error{e.cause}
}

func (e *muteError) Hint() string {
	const more = "; if a person has to touch the device or enter a PIN on it, allow more time"
	if e.isolated {
		return hintHung + more
	}
	return "reconnect the device or restart the service that manages it, such as pcscd, then restart this program" + more
}

// hintWait is for a call that got no turn.
const hintWait = "allow more time, or make fewer signatures at the same time; if the device has stopped to answer, reconnect it"

// what names the module for errors, before the token is known.
func (c Config) what() string {
	path, err := c.modulePath()
	if err != nil {
		return "the module"
	}
	return "module " + path
}

// what names the token of k for errors.
func (k *Key) what() string {
	t := k.conn.Load().token
	return fmt.Sprintf("token %s in slot %d of module %s", quote(trim(t.info.label)), t.slot, k.mod.path)
}

// A lock is a mutex whose lock method gives up when a context ends, because a
// module that does not answer may hold it for ever. It is unfair like
// [sync.Mutex]: goroutines that got it in turns would all be signing at the next
// loss of the token.
type lock struct {
	mu      sync.Mutex
	changed sync.Cond // uses mu
	held    bool
}

func newLock() *lock {
	l := new(lock)
	l.changed.L = &l.mu
	return l
}

func (l *lock) lock(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.held && ctx.Err() == nil {
		waitFor(ctx, &l.changed)
	}
	if ctx.Err() != nil {
		l.changed.Signal() // the caller may have taken the signal of another one
		return signer.WithHint(fmt.Errorf("wait for other calls of the module: %w", context.Cause(ctx)), hintWait)
	}
	l.held = true
	return nil
}

func (l *lock) unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.changed.Signal()
}

// waitFor waits for a signal of c or for the end of ctx. The caller holds c.L.
func waitFor(ctx context.Context, c *sync.Cond) {
	defer context.AfterFunc(ctx, func() {
		c.L.Lock()
		defer c.L.Unlock()
		c.Broadcast()
	})()
	c.Wait()
}

// An either is a context that ends when its Context or other ends. It has the values
// of its Context. Unlike one that [context.AfterFunc] ends, it costs nothing until
// somebody waits for it, which few signatures do.
type either struct {
	context.Context
	other context.Context

	once  sync.Once
	done  <-chan struct{}
	stop  func()      // nil: nobody has waited
	ended atomic.Bool // by end, which closes done, too
}

func (e *either) Err() error {
	if err := e.Context.Err(); err != nil {
		return err
	}
	if err := e.other.Err(); err != nil {
		return err
	}
	if e.ended.Load() {
		return context.Canceled
	}
	return nil
}

func (e *either) Done() <-chan struct{} {
	e.once.Do(func() {
		both, cancel := context.WithCancel(e.Context)
		stop := context.AfterFunc(e.other, cancel)
		e.done, e.stop = both.Done(), func() { stop(); cancel() }
	})
	return e.done
}

// end releases the resources of e.
func (e *either) end() {
	e.ended.Store(true)                             // before done is closed: package context panics if there is no error then
	e.once.Do(func() { e.done = e.Context.Done() }) // nobody waits any more
	if e.stop != nil {
		e.stop()
	}
}

// A use is one call that works with the sessions of a Key. The Key's resources
// are released after its last use.
type use struct {
	k         *Key
	ended     bool
	abandoned bool // nobody waits for it
}

// begin begins a use. It fails after Close.
func (k *Key) begin() (*use, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, signer.ErrClosed
	}
	if k.uses == 0 {
		k.busy = time.Now()
	}
	k.uses++
	return &use{k: k}, nil
}

// end ends u. The end of an abandoned use can be the end of a closed Key.
func (u *use) end() {
	k := u.k
	k.mu.Lock()
	u.ended = true
	k.uses--
	if u.abandoned {
		k.abandoned--
	}
	last := k.closed && k.uses == 0
	if last && k.ended != nil {
		close(k.ended)
	}
	k.idle.Broadcast()
	k.mu.Unlock()
	if last {
		_ = k.release()
	}
}

// abandon makes Close not wait for u.
func (u *use) abandon() {
	u.k.mu.Lock()
	defer u.k.mu.Unlock()
	if !u.ended {
		u.abandoned = true
		u.k.abandoned++
		u.k.idle.Broadcast()
	}
}

// Close implements [signer.Signer]. It finalizes the module if this is the last
// open key of the module. It waits at most 5 seconds for signatures that the
// module makes at the moment. A Sign that waits for its turn, or for a PIN if
// Config.PIN respects its context, returns [signer.ErrClosed].
//
// Close does not wait for a signature whose context has ended. If the module does
// not answer Close itself within 2 seconds, or a signature does not end, Close
// returns an error. In both cases the sessions stay open, and the module stays
// initialized in this process, until the module returns.
func (k *Key) Close() error {
	k.cancel()
	k.mu.Lock()
	first := !k.closed
	k.closed = true
	busy := !k.waitIdle(lastSignatures)
	idle := k.uses == 0
	if busy && k.ended == nil {
		k.ended = make(chan struct{})
	}
	work := abandoned{k.busy, k.ended}
	k.mu.Unlock()
	switch {
	case busy:
		k.mod.abandon(work)
		return stillOpen(&muteError{k.what(), k.mod.isIsolated(), context.DeadlineExceeded})
	case !first || !idle:
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, err := inTime(ctx, k.awaited(), func() (struct{}, error) { return struct{}{}, k.release() }, nil)
	return stillOpen(err)
}

// waitIdle waits at most d until k is not in use, but for calls that nobody waits
// for, and reports whether that is so. The caller holds k.mu.
func (k *Key) waitIdle(d time.Duration) bool {
	if k.uses == k.abandoned { // the usual case
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for k.uses > k.abandoned && ctx.Err() == nil {
		waitFor(ctx, &k.idle)
	}
	return k.uses == k.abandoned
}

// stillOpen adds to an error of Close what a module that does not answer keeps.
func stillOpen(err error) error {
	if mute := (*muteError)(nil); errors.As(err, &mute) {
		return fmt.Errorf("close: %w; until it does, its sessions stay open, and the module stays initialized in this process", err)
	}
	return err
}

// releaseNow closes the sessions and releases the module.
func (k *Key) releaseNow() error {
	k.mod.remove(k)
	// Sessions of a removed token are already closed.
	if err := k.conn.Load().pool.drain(0); err != nil && !lost(err) {
		return errors.Join(err, k.mod.release())
	}
	return k.mod.release()
}
