package credentials_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A wallClock is a clock that can be set. It has no monotonic reading, so that
// code that uses only this clock sees every change of it.
type wallClock struct{ offset atomic.Int64 }

func (w *wallClock) now() time.Time { return time.Now().Round(0).Add(time.Duration(w.offset.Load())) }

func (w *wallClock) set(offset time.Duration) { w.offset.Store(int64(offset)) }

// withClock returns a Source whose credentials expire according to w.
func withClock(m *fakeSource, w *wallClock) credentials.Source {
	return sourceFunc(func(ctx context.Context) (credentials.Credentials, error) {
		creds, err := m.Credentials(ctx)
		creds.Expires = w.now().Add(m.life)
		return creds, err
	})
}

// The wall clock determines the expiry, because clients use it.
func TestCacheWithClockSetForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &fakeSource{life: time.Hour}, new(wallClock)
		c := &credentials.Cache{Source: withClock(m, w), Now: w.now}
		wantKey(t, c, "ASIA1")
		w.set(50 * time.Minute)
		wantKey(t, c, "ASIA1") // and starts a renewal
		synctest.Wait()
		wantKey(t, c, "ASIA2")
		w.set(5 * time.Hour)
		wantKey(t, c, "ASIA3")
	})
}

// A wall clock that was set back does not delay the renewal, with or without
// callers.
func TestCacheWithClockSetBack(t *testing.T) {
	for _, back := range []time.Duration{time.Hour, 48 * time.Hour, 20 * 365 * 24 * time.Hour} {
		t.Run(back.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, w := &fakeSource{life: time.Hour}, new(wallClock)
				c := &credentials.Cache{Source: withClock(m, w), Now: w.now}
				wantKey(t, c, "ASIA1")
				w.set(-back)
				time.Sleep(23 * time.Minute)
				wantKey(t, c, "ASIA1")
				synctest.Wait()
				wantKey(t, c, "ASIA1") // not before it is due
				time.Sleep(22 * time.Minute)
				wantKey(t, c, "ASIA1") // starts the renewal
				synctest.Wait()
				wantKey(t, c, "ASIA2")

				ctx, cancel := context.WithCancel(t.Context())
				go c.Run(ctx)
				time.Sleep(45*time.Minute + 10*time.Second)
				if n := m.calls.Load(); n != 3 { // the fourth is due after 48 minutes or later
					t.Errorf("%d calls, want 3", n)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

// A wall clock that was set back does not extend the lifetime of credentials.
func TestCacheLimitsLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &fakeSource{life: time.Hour}, new(wallClock)
		c := &credentials.Cache{Source: withClock(m, w), Now: w.now}
		wantKey(t, c, "ASIA1")
		w.set(-48 * time.Hour)
		m.fail.Store(&errSource)
		time.Sleep(59 * time.Minute)
		wantKey(t, c, "ASIA1")
		time.Sleep(time.Minute)
		if creds, err := c.Current(t.Context()); err == nil || !c.Status().Expires.IsZero() {
			t.Errorf("after %v got %v; status %+v", time.Since(begin), creds, c.Status())
		}
	})
}

// A wall clock that was set back affects neither the delay after a failure nor
// Status.Renewing.
func TestCacheDelaysWithMonotonicClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &fakeSource{life: time.Hour, takes: time.Second}, new(wallClock)
		m.fail.Store(&errSource)
		c := &credentials.Cache{Source: withClock(m, w), Now: w.now}
		if _, err := c.Credentials(t.Context()); !errors.Is(err, errSource) {
			t.Fatalf("error %v", err)
		}
		w.set(-48 * time.Hour)
		m.fail.Store(nil)
		time.Sleep(2 * time.Second)
		if _, err := c.Current(t.Context()); !errors.Is(err, errSource) { // and starts a renewal
			t.Errorf("error %v", err)
		}
		w.set(48 * time.Hour)
		time.Sleep(500 * time.Millisecond)
		if s := c.Status(); s.Renewing != 500*time.Millisecond {
			t.Errorf("status %+v", s)
		}
		wantKey(t, c, "ASIA2")
	})
}

// While a machine is suspended, only the wall clock advances. A monotonic
// reading in Expires must not be used then.
func TestCacheAfterSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &fakeSource{life: time.Hour}, new(wallClock)
		source := sourceFunc(func(ctx context.Context) (credentials.Credentials, error) {
			creds, err := m.Credentials(ctx)
			creds.Expires = creds.Expires.Add(time.Duration(w.offset.Load())) // with a monotonic reading
			return creds, err
		})
		now := func() time.Time { // the wall clock without a monotonic reading
			return time.Now().Round(0).Add(time.Duration(w.offset.Load()))
		}
		c := &credentials.Cache{Source: source, Now: now}
		ctx, cancel := context.WithCancel(t.Context())
		go c.Run(ctx)
		wantKey(t, c, "ASIA1")
		w.set(3 * time.Hour)
		wantKey(t, c, "ASIA2") // not the expired credentials
		if creds, err := c.Current(t.Context()); err != nil || creds.Expires != creds.Expires.Round(0) {
			t.Errorf("%v has a monotonic reading, or %v", creds, err)
		}
		w.set(6 * time.Hour)
		time.Sleep(11 * time.Second)
		if n := m.calls.Load(); n != 3 {
			t.Errorf("%d calls soon after waking up, want 3", n)
		}
		cancel()
		synctest.Wait()
	})
}
