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

// A wallClock is a clock that can be set. It has no monotonic reading, and so
// shows what a clock that was set does to whoever goes by it alone.
type wallClock struct{ offset atomic.Int64 }

func (w *wallClock) now() time.Time { return time.Now().Round(0).Add(time.Duration(w.offset.Load())) }

func (w *wallClock) set(offset time.Duration) { w.offset.Store(int64(offset)) }

// byClock gives credentials that end by a clock of one's own.
func byClock(m *mint, w *wallClock) credentials.Source {
	return sourceFunc(func(ctx context.Context) (credentials.Credentials, error) {
		creds, err := m.Credentials(ctx)
		creds.Expires = w.now().Add(m.life)
		return creds, err
	})
}

// What the clock says counts, since clients go by it.
func TestCacheWithClockSetForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &mint{life: time.Hour}, new(wallClock)
		c := &credentials.Cache{Source: byClock(m, w), Now: w.now}
		wantKey(t, c, "ASIA1")
		w.set(50 * time.Minute)
		wantKey(t, c, "ASIA1") // and starts a renewal
		synctest.Wait()
		wantKey(t, c, "ASIA2")
		w.set(5 * time.Hour)
		wantKey(t, c, "ASIA3")
	})
}

// A clock that was set back does not keep credentials for longer than they
// live, whether anybody asks for them or not.
func TestCacheWithClockSetBack(t *testing.T) {
	for _, back := range []time.Duration{time.Hour, 48 * time.Hour, 20 * 365 * 24 * time.Hour} {
		t.Run(back.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, w := &mint{life: time.Hour}, new(wallClock)
				c := &credentials.Cache{Source: byClock(m, w), Now: w.now}
				wantKey(t, c, "ASIA1")
				w.set(-back)
				time.Sleep(34 * time.Minute)
				wantKey(t, c, "ASIA1")
				synctest.Wait()
				wantKey(t, c, "ASIA1") // not before it is due
				time.Sleep(6 * time.Minute)
				wantKey(t, c, "ASIA1") // starts the renewal
				synctest.Wait()
				wantKey(t, c, "ASIA2")

				ctx, cancel := context.WithCancel(t.Context())
				go c.Run(ctx)
				time.Sleep(40*time.Minute + 10*time.Second)
				if n := m.calls.Load(); n != 3 {
					t.Errorf("%d calls, want 3", n)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

// A clock that was set back does not keep alive what AWS let expire.
func TestCacheEndsWithItsLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &mint{life: time.Hour}, new(wallClock)
		c := &credentials.Cache{Source: byClock(m, w), Now: w.now}
		wantKey(t, c, "ASIA1")
		w.set(-48 * time.Hour)
		m.fail.Store(&errMint)
		time.Sleep(59 * time.Minute)
		wantKey(t, c, "ASIA1")
		time.Sleep(time.Minute)
		if creds, err := c.Current(t.Context()); err == nil || !c.Status().Expires.IsZero() {
			t.Errorf("after %v got %v; status %+v", time.Since(begin), creds, c.Status())
		}
	})
}

// A clock that was set back does not lengthen the pause after a failure, nor
// falsify how long a renewal takes.
func TestCachePausesByTimePassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &mint{life: time.Hour, takes: time.Second}, new(wallClock)
		m.fail.Store(&errMint)
		c := &credentials.Cache{Source: byClock(m, w), Now: w.now}
		if _, err := c.Credentials(t.Context()); !errors.Is(err, errMint) {
			t.Fatalf("error %v", err)
		}
		w.set(-48 * time.Hour)
		m.fail.Store(nil)
		time.Sleep(2 * time.Second)
		if _, err := c.Current(t.Context()); !errors.Is(err, errMint) { // and starts a renewal
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

// A machine that slept has no time passed but by the clock. Expirations may
// hold a monotonic reading, which does not count then.
func TestCacheAfterSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &mint{life: time.Hour}, new(wallClock)
		source := sourceFunc(func(ctx context.Context) (credentials.Credentials, error) {
			creds, err := m.Credentials(ctx)
			creds.Expires = creds.Expires.Add(time.Duration(w.offset.Load())) // with a monotonic reading
			return creds, err
		})
		now := func() time.Time { // wall and monotonic readings part
			return time.Now().Round(0).Add(time.Duration(w.offset.Load()))
		}
		c := &credentials.Cache{Source: source, Now: now}
		ctx, cancel := context.WithCancel(t.Context())
		go c.Run(ctx)
		wantKey(t, c, "ASIA1")
		w.set(3 * time.Hour)
		wantKey(t, c, "ASIA2") // nobody gets the expired ones
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
