package keystore

import (
	"context"
	"crypto/x509"
	"sync"
)

// A Call is the input of a [Backend] that is not in the reference: the caller's
// Options, and the state of one call of the [Store]. The Store creates it. A
// Call that has only Options works without a Store, for example in a test of a
// Backend: Read reads again each time, Defer runs its function at once, and a
// PIN source can only be a file or an environment variable.
//
// A Backend borrows the Certificates, and must not use Read or Defer after it
// has returned. A Call is safe for concurrent use.
type Call struct {
	Options

	// Certificates are candidates for the certificate of the key. A backend
	// whose device does not reveal the public key takes it from them.
	Certificates []*x509.Certificate

	store    *Store         // its Unsealers are PIN sources; nil: there are none
	deferred *deferredFuncs // nil: Defer runs functions at once
}

// begin returns the Call for one call of s. The caller ends it with end.
func (s *Store) begin(opts Options) Call {
	if opts.cache == nil {
		opts = opts.Once()
	}
	opts.PIN = opts.permitted(opts.PIN)
	return Call{Options: opts, store: s, deferred: new(deferredFuncs)}
}

type deferredFuncs struct {
	mu    sync.Mutex
	funcs []func() error
}

// Defer runs f when the call of the [Store] ends, so that several references
// share a resource such as an initialized module. An error of f is logged.
// Without a Store, Defer runs f at once and returns its error.
func (c Call) Defer(f func() error) error {
	if c.deferred == nil {
		return f()
	}
	c.deferred.mu.Lock()
	defer c.deferred.mu.Unlock()
	c.deferred.funcs = append(c.deferred.funcs, f)
	return nil
}

// end runs the deferred functions. It only logs their errors, because the
// result of the call is known by then.
func (c Call) end() {
	for _, f := range c.deferred.funcs {
		if err := f(); err != nil {
			c.logger().Debug("cleanup failed", "error", err)
		}
	}
}

// An inputCache keeps the bytes behind each reference that was read. A second
// read of a file could return other bytes, and standard input can be read only
// once.
type inputCache struct {
	turn turn // for data
	data map[Ref][]byte
}

// A turn is a lock for which a caller waits only until its context ends.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turn) end() { <-t }

// Once returns a copy of o. All calls of the [Store] with this copy together
// read each file, variable and standard input once, instead of once per call.
func (o Options) Once() Options {
	o.cache = &inputCache{turn: newTurn(), data: make(map[Ref][]byte)}
	return o
}

// Read returns the bytes behind a reference to a file, an environment variable
// or standard input. One call of the [Store] reads each reference once. The
// caller must not change the bytes.
//
// Read refuses more than [MaxInput] bytes, directories, devices and FIFOs. It
// waits for standard input until ctx is done, and at most 7 seconds, and for a file
// system that does not answer until ctx is done. It
// logs a warning if a file contains a private key and every local user can read
// or change it.
func (c Call) Read(ctx context.Context, ref Ref) ([]byte, error) {
	if c.cache == nil {
		return c.read(ctx, ref)
	}
	if err := c.cache.turn.take(ctx); err != nil {
		return nil, err
	}
	defer c.cache.turn.end()
	if data, ok := c.cache.data[ref]; ok {
		return data, nil
	}
	data, err := c.read(ctx, ref)
	if err != nil {
		return nil, err
	}
	c.cache.data[ref] = data
	return data, nil
}
