// Package await limits the time of calls that ignore their context or accept
// none, such as calls of a vendor's PKCS #11 module, of a decoder or of a
// terminal read.
package await

import (
	"context"
	"time"

	"github.com/holdfast-dev/holdfast/internal/stack"
)

// Result calls f and returns its result, or returns the cause of ctx if ctx
// ends first. In that case f continues in its goroutine, because nothing can
// interrupt it. If it succeeds later, discard is called with its value, for
// example to close it. discard may be nil.
func Result[T any](ctx context.Context, f func() (T, error), discard func(T)) (T, error) {
	value, _, err := InTime(ctx, f, discard)
	return value, err
}

// InTime is like [Result] and also reports whether f returned before ctx ended.
// If inTime is true, err is the error of f.
func InTime[T any](ctx context.Context, f func() (T, error), discard func(T)) (value T, inTime bool, err error) {
	return InGrace(ctx, 0, f, discard)
}

// InGrace is like [InTime], but f, which is bound to ctx itself, has grace more
// time after ctx ends.
func InGrace[T any](ctx context.Context, grace time.Duration, f func() (T, error), discard func(T)) (value T, inTime bool, err error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	launch(func() {
		value, err := f()
		done <- result{value, err}
	})
	select {
	case r := <-done:
		return r.value, true, r.err
	case <-ctx.Done():
	}
	if grace > 0 {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case r := <-done:
			return r.value, true, r.err
		case <-timer.C:
		}
	}
	if discard != nil {
		go func() {
			if r := <-done; r.err == nil {
				discard(r.value)
			}
		}()
	}
	return value, false, context.Cause(ctx)
}

// launch runs f in a goroutine with room on its stack. It is not a part of a generic
// function, of which each type has a copy: the runtime reads the tables of the first
// function of a goroutine, so that each copy costs page faults.
//
//go:noinline
func launch(f func()) {
	go func() {
		stack.Grow()
		f()
	}()
}

// WithGrace returns a context that ends grace after ctx ends, with the cause of
// ctx, so that a call bound to ctx gets time to return by itself. The caller
// must call cancel.
func WithGrace(ctx context.Context, grace time.Duration) (extended context.Context, cancel context.CancelFunc) {
	extended, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, func() { end(context.Cause(ctx)) })
		context.AfterFunc(extended, func() { timer.Stop() })
	})
	return extended, func() {
		stop()
		end(nil)
	}
}

// Pause waits for d and returns nil, or returns ctx.Err() if ctx ends first.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
