package keystore

import (
	"context"
	"crypto/x509"
	"sync"
)

// A Call is what a [Backend] gets with a reference: the caller's Options, and
// what belongs to one call of the [Store], which makes it. A Call of Options
// alone serves where there is no Store, as in a test of a Backend: each Read
// reads anew, Defer defers nothing, and PINs are in files and variables only.
//
// A Backend borrows the Certificates, and uses Read and Defer no longer than
// until it returns. A Call is safe for concurrent use.
type Call struct {
	Options

	// Certificates are those that the key may belong to. A backend whose
	// device does not show the public half of a key takes it from there.
	Certificates []*x509.Certificate

	store *Store    // whose unsealers give PINs; nil: none do
	after *deferred // nil: nothing is deferred
}

// begin returns the Call of one call of s, which ends with end.
func (s *Store) begin(opts Options) Call {
	if opts.memory == nil {
		opts = opts.Once()
	}
	return Call{Options: opts, store: s, after: new(deferred)}
}

type deferred struct {
	mu    sync.Mutex
	funcs []func() error
}

// Defer runs f when the call of the [Store] ends, so that what several
// references share, such as an initialized module, is opened once; outside of
// such a call at once. What f returns then is Defer's error, and is logged
// otherwise.
func (c Call) Defer(f func() error) error {
	if c.after == nil {
		return f()
	}
	c.after.mu.Lock()
	defer c.after.mu.Unlock()
	c.after.funcs = append(c.after.funcs, f)
	return nil
}

// end runs what was deferred. What fails there has failed after the work.
func (c Call) end() {
	for _, f := range c.after.funcs {
		if err := f(); err != nil {
			c.logger().Debug("cleaning up", "error", err)
		}
	}
}

// A memory has the bytes of references that were read: each is read once,
// because a second read could give another file's bytes, and standard input
// has no second read.
type memory struct {
	reading sync.Mutex
	data    map[Ref][]byte
}

// Once returns o with a memory, so that each file, variable and standard input
// is read once for all calls of the [Store] that get it, and not once for each.
func (o Options) Once() Options {
	o.memory = &memory{data: make(map[Ref][]byte)}
	return o
}

// Read returns the bytes behind a reference to a file, an environment variable
// or standard input. Within one call of the [Store] each is read once; the
// caller must not change them. More than [MaxInput] bytes, directories,
// devices and FIFOs are refused; nothing is waited for but standard input, and
// that no longer than ctx and stdinPatience. A file that every local user can
// read is reported to the logger if it holds a private key.
func (c Call) Read(ctx context.Context, ref Ref) ([]byte, error) {
	if c.memory == nil {
		return c.read(ctx, ref)
	}
	c.memory.reading.Lock()
	defer c.memory.reading.Unlock()
	if data, ok := c.memory.data[ref]; ok {
		return data, nil
	}
	data, err := c.read(ctx, ref)
	if err != nil {
		return nil, err
	}
	c.memory.data[ref] = data
	return data, nil
}
