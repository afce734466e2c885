package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	// grace is how long a call that is bound to a context may take to
	// return after the context ends, for example to restore a terminal.
	grace = 500 * time.Millisecond

	// closeTimeout bounds the calls that need no context: closing sessions,
	// finalizing the module and reading the mechanisms.
	closeTimeout = 2 * time.Second
)

// bounded returns the result of f. If f does not return soon after ctx ends,
// because the module does not answer, bounded returns an error that names what.
// Nothing can interrupt f, which then continues in its goroutine; late gets the
// result of its success.
func bounded[T any](ctx context.Context, what func() string, f func() (T, error), late func(T)) (T, error) {
	if ctx.Done() == nil {
		return f()
	}
	value, inTime, err := await.InGrace(ctx, grace, f, late)
	if !inTime {
		err = &muteError{what(), err}
	}
	return value, err
}

// A muteError reports that a call of the module did not return in time. After a
// deadline the device counts as unavailable, but not if the caller gave up.
type muteError struct {
	what  string
	cause error
}

func (e *muteError) Error() string { return e.what + " does not answer: " + e.cause.Error() }

func (e *muteError) Unwrap() []error {
	if errors.Is(e.cause, context.DeadlineExceeded) {
		return []error{e.cause, signer.ErrUnavailable}
	}
	return []error{e.cause}
}

func (e *muteError) Hint() string {
	return "reconnect the device or restart the service that manages it, such as pcscd, then restart this program; " +
		"if a person has to touch the device or enter a PIN on it, allow more time"
}

// what names the module for errors, before the token is known.
func (c Config) what() string {
	u := c.URI
	if c.Module != "" {
		u.ModulePath = c.Module
	}
	path, err := modulePath(u)
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
		return fmt.Errorf("wait for other calls of the module: %w", context.Cause(ctx))
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
// open key of the module. It waits for calls of Sign. A Sign that waits for a
// PIN returns [signer.ErrClosed] if Config.PIN respects its context.
//
// Close does not wait for a signature whose context has ended: the sessions and
// the module then stay open until the module returns. If the module does not
// answer Close itself within 2 seconds, Close returns an error.
func (k *Key) Close() error {
	k.cancel()
	k.mu.Lock()
	first := !k.closed
	k.closed = true
	for k.uses > k.abandoned {
		k.idle.Wait()
	}
	idle := k.uses == 0
	k.mu.Unlock()
	if !first || !idle {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_, err := bounded(ctx, k.what, func() (struct{}, error) { return struct{}{}, k.release() }, nil)
	return err
}

// releaseNow closes the sessions and releases the module.
func (k *Key) releaseNow() error {
	// Sessions of a removed token are already closed.
	if err := k.conn.Load().pool.drain(0); err != nil && !lost(err) {
		return errors.Join(err, k.mod.release())
	}
	return k.mod.release()
}
