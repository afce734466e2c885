package await

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// ended returns after what time ctx ended.
func ended(ctx context.Context, begin time.Time) time.Duration {
	<-ctx.Done()
	return time.Since(begin)
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		outer, cancel := Limit(t.Context(), 10*time.Second)
		defer cancel()
		between, cancel := context.WithCancel(outer)
		defer cancel()
		inner, cancel := Limit(between, 8*time.Second)
		defer cancel()
		time.Sleep(3 * time.Second)
		if left, ok := Left(inner); left != 5*time.Second || !ok {
			t.Errorf("left: %v, %t", left, ok)
		}

		person, done := Person(inner, time.Minute)
		_, doneToo := Person(inner, time.Hour) // another prompt at the same time
		time.Sleep(20 * time.Second)
		done()
		if person.Err() != context.Canceled {
			t.Errorf("the context of the prompt ended with %v", person.Err())
		}
		time.Sleep(20 * time.Second)
		if left, _ := Left(inner); left != 5*time.Second || inner.Err() != nil || outer.Err() != nil {
			t.Errorf("left: %v, errors: %v, %v", left, inner.Err(), outer.Err())
		}
		doneToo()
		done() // a second call changes nothing

		if after := ended(inner, begin); after != 48*time.Second || inner.Err() != context.DeadlineExceeded {
			t.Errorf("the inner limit ended after %v with %v", after, inner.Err())
		}
		if after := ended(outer, begin); after != 50*time.Second || context.Cause(outer) != context.DeadlineExceeded {
			t.Errorf("the outer limit ended after %v with %v", after, context.Cause(outer))
		}
		<-between.Done() // a child ends a moment later
		if between.Err() != context.DeadlineExceeded || context.Cause(between) != context.DeadlineExceeded {
			t.Errorf("a child ended with %v, %v", between.Err(), context.Cause(between))
		}
	})
}

func TestLimitEndsWithItsParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("interrupted")
		parent, end := context.WithCancelCause(t.Context())
		ctx, cancel := Limit(parent, time.Hour)
		defer cancel()
		person, done := Person(ctx, time.Hour)
		end(why)
		<-person.Done()
		if ctx.Err() != context.Canceled || context.Cause(ctx) != why || context.Cause(person) != why {
			t.Errorf("%v, %v, %v", ctx.Err(), context.Cause(ctx), context.Cause(person))
		}
		late, cancelLate := Limit(parent, time.Hour)
		defer cancelLate()
		if late.Err() != context.Canceled {
			t.Errorf("a limit of a context that has ended: %v", late.Err())
		}
		done() // does not start the clock of a context that has ended
		cancel()
	})
}

func TestPersonIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		ctx, cancel := Limit(t.Context(), time.Second)
		defer cancel()
		person, done := Person(ctx, 5*time.Second)
		if after := ended(person, begin); after != 5*time.Second || person.Err() != context.DeadlineExceeded {
			t.Errorf("the prompt ended after %v with %v", after, person.Err())
		}
		if after := ended(ctx, begin); after != 6*time.Second { // also without done
			t.Errorf("the limit ended after %v", after)
		}
		done()
	})
}

func TestLeftWithoutLimit(t *testing.T) {
	if left, ok := Left(t.Context()); ok {
		t.Errorf("%v left", left)
	}
	ctx, done := Person(t.Context(), time.Hour)
	done()
	if ctx.Err() == nil {
		t.Error("done does not release the context")
	}
}

// Contexts below a limit end with it and with its error, and a stopped function is not
// called.
func TestLimitAfterFunc(t *testing.T) {
	limited, cancel := Limit(t.Context(), time.Hour)
	below, end := context.WithCancel(limited)
	defer end()
	called, stopped := make(chan struct{}), make(chan struct{})
	stopCalled := context.AfterFunc(limited, func() { close(called) })
	if stop := context.AfterFunc(limited, func() { close(stopped) }); !stop() || stop() {
		t.Error("a function that waits is stopped once")
	}
	cancel()
	<-called
	<-below.Done()
	if err := below.Err(); !errors.Is(err, context.Canceled) || stopCalled() {
		t.Errorf("error %v, and a function that was called is stopped", err)
	}
	late := make(chan struct{})
	context.AfterFunc(limited, func() { close(late) })
	<-late
	select {
	case <-stopped:
		t.Error("the stopped function was called")
	default:
	}

	short, cancel := Limit(t.Context(), time.Millisecond)
	defer cancel()
	below, end = context.WithCancel(short)
	defer end()
	<-below.Done()
	if err := below.Err(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want DeadlineExceeded", err)
	}
}
