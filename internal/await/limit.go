package await

import (
	"context"
	"sync"
	"time"
)

// Limit returns a context that ends with [context.DeadlineExceeded] when d has
// passed since the call. The times in which a person is awaited do not count;
// see [Person]. The caller must call cancel.
//
// The context has no fixed deadline; see [Left].
func Limit(ctx context.Context, d time.Duration) (_ context.Context, cancel context.CancelFunc) {
	l := &limit{Context: ctx, done: make(chan struct{}), left: d}
	l.mu.Lock()
	l.run()
	l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		l.end(err)
	}
	stop := context.AfterFunc(ctx, func() { l.end(ctx.Err()) })
	return l, func() {
		stop()
		l.end(context.Canceled)
	}
}

// PersonTimeout is how long to wait for a person at a device. The AWS SDK for Go
// ends a credential process after 60 seconds.
const PersonTimeout = 55 * time.Second

// Person stops the clocks of all [Limit] contexts of ctx, because a person is
// awaited, until done is called or atMost has passed. The returned context ends
// at the same time, or with ctx.
func Person(ctx context.Context, atMost time.Duration) (_ context.Context, done func()) {
	outer, _ := ctx.Value(limitKey{}).(*limit)
	for l := outer; l != nil; l = l.outer() {
		l.pause()
	}
	ctx, cancel := context.WithTimeout(ctx, atMost)
	context.AfterFunc(ctx, func() {
		for l := outer; l != nil; l = l.outer() {
			l.resume()
		}
	})
	return ctx, cancel
}

// Left returns how long all [Limit] contexts of ctx still allow. ok is false if
// there is none.
func Left(ctx context.Context) (left time.Duration, ok bool) {
	for l, _ := ctx.Value(limitKey{}).(*limit); l != nil; l = l.outer() {
		if n := l.remaining(); !ok || n < left {
			left, ok = n, true
		}
	}
	return left, ok
}

type limitKey struct{}

// A limit is the context that [Limit] returns.
type limit struct {
	context.Context // the parent
	done            chan struct{}

	mu      sync.Mutex
	err     error
	timer   *time.Timer
	left    time.Duration // when the clock was started or stopped last
	since   time.Time     // when the clock was started last
	persons int           // the clock is stopped while this is not 0
	after   map[*func()]struct{}
}

// AfterFunc lets contexts below this one wait for its end without a goroutine each; see
// [context.AfterFunc].
func (l *limit) AfterFunc(f func()) (stop func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		go f()
		return func() bool { return false }
	}
	if l.after == nil {
		l.after = make(map[*func()]struct{})
	}
	l.after[&f] = struct{}{}
	return func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		_, waits := l.after[&f]
		delete(l.after, &f)
		return waits
	}
}

func (l *limit) Done() <-chan struct{}       { return l.done }
func (l *limit) Deadline() (time.Time, bool) { return time.Time{}, false }

func (l *limit) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *limit) Value(key any) any {
	if key == (limitKey{}) {
		return l
	}
	return l.Context.Value(key)
}

func (l *limit) outer() *limit {
	outer, _ := l.Context.Value(limitKey{}).(*limit)
	return outer
}

func (l *limit) remaining() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.persons > 0 {
		return l.left
	}
	return l.left - time.Since(l.since)
}

func (l *limit) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		l.timer.Stop()
		close(l.done)
		for f := range l.after {
			go (*f)()
		}
		l.after = nil
	}
}

// run starts the clock. The caller holds mu.
func (l *limit) run() {
	l.since = time.Now()
	l.timer = time.AfterFunc(l.left, l.expire)
}

// expire ends the context, unless the clock was stopped or started again after
// the timer fired.
func (l *limit) expire() {
	l.mu.Lock()
	over := l.persons == 0 && time.Since(l.since) >= l.left
	l.mu.Unlock()
	if over {
		l.end(context.DeadlineExceeded)
	}
}

func (l *limit) pause() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.persons++; l.persons == 1 {
		l.timer.Stop()
		l.left -= time.Since(l.since)
	}
}

func (l *limit) resume() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.persons--; l.persons == 0 && l.err == nil {
		l.run()
	}
}
