// Package await bounds what heeds no context: calls such as those of a vendor's
// module, of a decoder, or a read of a terminal; and pauses.
package await

import (
	"context"
	"time"
)

// Result returns what f returns, or the cause of ctx's end if that comes first.
// f then goes on in its goroutine, since nothing can interrupt it. If it
// succeeds later, its value goes to drop, for what has to be closed; a nil drop
// discards it.
func Result[T any](ctx context.Context, f func() (T, error), drop func(T)) (T, error) {
	value, _, err := InTime(ctx, f, drop)
	return value, err
}

// InTime is [Result] that also tells whether f returned before ctx ended, and
// so whose error it is.
func InTime[T any](ctx context.Context, f func() (T, error), drop func(T)) (value T, inTime bool, err error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := f()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, true, r.err
	case <-ctx.Done():
	}
	if drop != nil {
		go func() {
			if r := <-done; r.err == nil {
				drop(r.value)
			}
		}()
	}
	return value, false, context.Cause(ctx)
}

// Later returns a context that ends a time after ctx does, with ctx's cause,
// for what is to have a chance to end by itself. The caller calls cancel.
func Later(ctx context.Context, grace time.Duration) (later context.Context, cancel context.CancelFunc) {
	later, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, func() { end(context.Cause(ctx)) })
		context.AfterFunc(later, func() { timer.Stop() })
	})
	return later, func() {
		stop()
		end(nil)
	}
}

// Pause returns when d is over, or the error of ctx if that ends first.
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
