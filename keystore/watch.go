package keystore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
)

// A Watcher learns of the next certificate of a key from its store, as soon as it is
// there. Certificates in files need no Watcher; see [Dependent].
type Watcher interface {
	Backend
	// Watch calls changed with the certificate that ref names now, as soon as the
	// store tells it, and again with each certificate that takes its place. It can
	// call it again with the same certificate, but never concurrently. A store that
	// cannot be reached or no longer has the key is logged and tried again, with
	// growing pauses. Watch returns when ctx ends, with its error, or at once if ref
	// is not valid.
	Watch(ctx context.Context, ref Ref, call Call, changed func(*x509.Certificate)) error
}

// Watch calls changed with the certificate of a key or certificate of id that a [Watcher]
// opens, as soon as the store tells it and after each change, until ctx ends. It returns the
// error of ctx. If none is opened by a Watcher, it returns at once with an error that wraps
// [errors.ErrUnsupported]. If a reference is not valid, the error is a [*RefError] or a
// [*signer.Error]. changed is never called concurrently. It should return soon, as
// RequestReload of package rotate does.
func (s *Store) Watch(ctx context.Context, id Identity, opts Options, changed func(*x509.Certificate)) error {
	watched := make(map[Ref]Watcher)
	for _, ref := range []Ref{id.Key, id.Certificate} {
		if w, ok := s.find(ref.Scheme).(Watcher); ok {
			watched[ref] = w
		}
	}
	if len(watched) == 0 {
		return fmt.Errorf("watch the certificate of a key: %w", errors.ErrUnsupported)
	}
	call := s.begin(opts)
	defer call.end()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var turn sync.Mutex
	var all sync.WaitGroup
	for ref, w := range watched {
		all.Go(func() {
			err := w.Watch(ctx, ref, call, func(leaf *x509.Certificate) {
				turn.Lock()
				defer turn.Unlock()
				changed(leaf)
			})
			if ctx.Err() == nil {
				stop(wrap(w, "watch", ref, err))
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}
