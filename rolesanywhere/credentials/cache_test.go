package credentials_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A mint is a Source that makes credentials of one lifetime.
type mint struct {
	life  time.Duration
	takes time.Duration
	calls atomic.Int64
	fail  atomic.Pointer[error] // while set
}

func (m *mint) Credentials(ctx context.Context) (credentials.Credentials, error) {
	n := m.calls.Add(1)
	time.Sleep(m.takes) // of synctest's clock
	if err := ctx.Err(); err != nil {
		return credentials.Credentials{}, err
	}
	if err := m.fail.Load(); err != nil {
		return credentials.Credentials{}, *err
	}
	return credentials.Credentials{
		AccessKeyID: fmt.Sprintf("ASIA%d", n), SecretAccessKey: "secret", SessionToken: "token",
		Expires: time.Now().Add(m.life),
	}, nil
}

var errMint = errors.New("the mint is closed")

func wantKey(t *testing.T, c *credentials.Cache, want string) {
	t.Helper()
	creds, err := c.Credentials(t.Context())
	if err != nil || creds.AccessKeyID != want {
		t.Errorf("after %v: got %v, %v, want %s", time.Since(begin), creds, err, want)
	}
}

// begin is when synctest's clock begins.
var begin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestCacheSharesOneRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{life: time.Hour, takes: time.Second}
		c := &credentials.Cache{Source: m}
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() { wantKey(t, c, "ASIA1") })
		}
		wg.Wait()
		if n := m.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// Retry ends the pause after a failure, and brings no renewal that is not due.
func TestCacheRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{life: time.Hour}
		c := &credentials.Cache{Source: m}
		wantCalls := func(when string, want int64) {
			t.Helper()
			synctest.Wait()
			if n := m.calls.Load(); n != want {
				t.Errorf("%s: %d calls, want %d", when, n, want)
			}
		}
		m.fail.Store(&errMint)
		_, _ = c.Current(t.Context())
		wantCalls("at first", 1)
		_, _ = c.Current(t.Context())
		wantCalls("in the pause", 1)
		m.fail.Store(nil)
		c.Retry(t.Context())
		wantCalls("after Retry", 2)
		wantKey(t, c, "ASIA2")
		c.Retry(t.Context())
		wantCalls("while nothing is due", 2)
	})
}

// A caller that gives up does not take the renewal with it.
func TestCacheOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{life: time.Hour, takes: time.Second}
		c := &credentials.Cache{Source: m}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := c.Credentials(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v", err)
		}
		wantKey(t, c, "ASIA1")
		if n := m.calls.Load(); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// Whatever the length of the session: nothing expired is given out, each
// renewal is ahead of need, and there is one in each life.
func TestCacheRenewsAheadOfNeed(t *testing.T) {
	for _, test := range []struct {
		life, least time.Duration // of what is given out
	}{
		{12 * time.Hour, 15 * time.Minute},
		{time.Hour, 15 * time.Minute},
		{15 * time.Minute, 4 * time.Minute},
		{time.Minute, 15 * time.Second},
		{5 * time.Second, time.Second},
	} {
		t.Run(test.life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mint{life: test.life, takes: min(test.life/100, 10*time.Second)}
				c := &credentials.Cache{Source: m}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- c.Run(ctx) }()
				const lives = 20
				wantKey(t, c, "ASIA1")
				for time.Since(begin) < lives*test.life {
					creds, err := c.Current(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if left := time.Until(creds.Expires); left < test.least {
						t.Fatalf("%v left, want %v", left, test.least)
					}
					time.Sleep(test.life / 200)
				}
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				synctest.Wait()
				// In a life two thirds are used, or all but 25 minutes.
				used := min(test.life*7/12, test.life-25*time.Minute)
				if used <= 0 {
					used = test.life * 7 / 12
				}
				if n := m.calls.Load(); n > int64(lives*test.life/used)+2 {
					t.Errorf("%d calls in %d lives", n, lives)
				}
			})
		})
	}
}

// Nobody has to ask for Run to renew.
func TestCacheRenewsUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{life: time.Hour}
		c := &credentials.Cache{Source: m}
		ctx, cancel := context.WithCancel(t.Context())
		go c.Run(ctx)
		time.Sleep(100 * time.Hour)
		if _, err := c.Current(t.Context()); err != nil {
			t.Error(err)
		}
		if n := m.calls.Load(); n < 100 || n > 200 {
			t.Errorf("%d calls in 100 hours", n)
		}
		cancel()
		synctest.Wait()
	})
}

func TestCacheKeepsWhatIsValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{life: time.Hour}
		c := &credentials.Cache{Source: m}
		wantKey(t, c, "ASIA1")
		m.fail.Store(&errMint)
		time.Sleep(45 * time.Minute)
		wantKey(t, c, "ASIA1") // and starts a renewal
		synctest.Wait()
		wantKey(t, c, "ASIA1")
		if s := c.Status(); s.Failures != 1 || !errors.Is(s.Err, errMint) || !s.Expires.Equal(begin.Add(time.Hour)) {
			t.Errorf("status %+v", s)
		}
		before := m.calls.Load()
		for range 900 { // 15 minutes
			if _, err := c.Current(t.Context()); err != nil && time.Since(begin) < time.Hour {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if n := m.calls.Load() - before; n < 10 || n > 45 {
			t.Errorf("%d tries in 15 minutes", n)
		}
		// Nothing valid is left: the error, at once.
		if _, err := c.Credentials(t.Context()); !errors.Is(err, errMint) {
			t.Errorf("error %v, want %v", err, errMint)
		}
		if _, err := c.Current(t.Context()); !errors.Is(err, errMint) {
			t.Errorf("error %v, want %v", err, errMint)
		}
		if s := c.Status(); !s.Expires.IsZero() {
			t.Errorf("status %+v", s)
		}
		m.fail.Store(nil)
		time.Sleep(time.Minute)
		creds, err := c.Credentials(t.Context())
		if err != nil || c.Status().Failures != 0 {
			t.Errorf("got %v, %v, status %+v", creds, err, c.Status())
		}
	})
}

func TestCacheIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{life: time.Hour, takes: time.Second}
		c := &credentials.Cache{Source: m}
		if _, err := c.Current(t.Context()); !errors.Is(err, credentials.ErrNotReady) {
			t.Errorf("error %v", err)
		}
		time.Sleep(500 * time.Millisecond)
		if s := c.Status(); s.Renewing != 500*time.Millisecond {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Second)
		if _, err := c.Current(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

type sourceFunc func(context.Context) (credentials.Credentials, error)

func (f sourceFunc) Credentials(ctx context.Context) (credentials.Credentials, error) { return f(ctx) }

// What a source should not give is not given on.
func TestCacheRefusesBlanks(t *testing.T) {
	for name, bad := range map[string]credentials.Credentials{
		"blank":   {},
		"partial": {AccessKeyID: "ASIA1", SecretAccessKey: "secret", Expires: time.Now().Add(time.Hour)},
		"expired": {AccessKeyID: "ASIA1", SecretAccessKey: "secret", SessionToken: "token", Expires: time.Now().Add(-time.Hour)},
	} {
		c := &credentials.Cache{Source: sourceFunc(func(context.Context) (credentials.Credentials, error) { return bad, nil })}
		if creds, err := c.Credentials(t.Context()); !errors.Is(err, credentials.ErrIncomplete) || creds != (credentials.Credentials{}) {
			t.Errorf("%s: got %v, %v", name, creds, err)
		}
	}
}

// A wallClock is a clock that can be set. It has no monotonic reading, and so
// shows what a clock that was set does to whoever goes by it alone.
type wallClock struct{ offset atomic.Int64 }

func (w *wallClock) now() time.Time           { return time.Now().Round(0).Add(time.Duration(w.offset.Load())) }
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

// A log that nobody reads keeps nobody from credentials.
func TestCacheWithALogThatBlocks(t *testing.T) {
	for _, fail := range []*error{nil, &errMint} {
		synctest.Test(t, func(t *testing.T) {
			m := &mint{life: time.Hour}
			log := stuckLog{slog.DiscardHandler, make(chan struct{}, 1)}
			log.read <- struct{}{} // the first record
			c := &credentials.Cache{Source: m, Logger: slog.New(log)}
			wantKey(t, c, "ASIA1")
			m.fail.Store(fail)
			time.Sleep(45 * time.Minute)
			for range 2 { // the first begins a renewal
				if _, err := c.Current(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second)
			}
			c.Status()
			close(log.read)
		})
	}
}

// A stuckLog takes as many records as are read.
type stuckLog struct {
	slog.Handler
	read chan struct{}
}

func (l stuckLog) Enabled(context.Context, slog.Level) bool { return true }

func (l stuckLog) Handle(context.Context, slog.Record) error {
	<-l.read
	return nil
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

// hung is a source that hangs until it is told to go on, and may heed its
// context meanwhile.
type hung struct {
	mint
	heeds bool
	on    chan struct{}
	now   atomic.Int64 // calls under way
	most  atomic.Int64
}

func (h *hung) Credentials(ctx context.Context) (credentials.Credentials, error) {
	h.most.Store(max(h.most.Load(), h.now.Add(1)))
	defer h.now.Add(-1)
	done := ctx.Done()
	if !h.heeds {
		done = nil
	}
	select {
	case <-h.on:
	case <-done:
		return credentials.Credentials{}, context.Cause(ctx)
	}
	return h.mint.Credentials(context.WithoutCancel(ctx))
}

// A source that hangs for ever makes nobody wait for ever, and is not called
// again and again meanwhile.
func TestCacheWithSourceThatHangs(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		t.Run(fmt.Sprintf("heeds=%t", heeds), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hung{mint: mint{life: time.Hour}, heeds: heeds, on: make(chan struct{})}
				c := &credentials.Cache{Source: h, Timeout: 30 * time.Second}
				ctx, cancel := context.WithCancel(t.Context())
				go c.Run(ctx)
				var wg sync.WaitGroup
				for range 64 {
					wg.Go(func() {
						if _, err := c.Credentials(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("error %v", err)
						}
					})
				}
				wg.Wait()
				if took := time.Since(begin); took > 40*time.Second {
					t.Errorf("waited %v", took)
				}
				if s := c.Status(); s.Failures != 1 || !errors.Is(s.Err, context.DeadlineExceeded) {
					t.Errorf("status %+v", s)
				}
				time.Sleep(time.Hour)
				if _, err := c.Current(t.Context()); err == nil {
					t.Error("got credentials")
				}
				if s := c.Status(); !heeds && s.Renewing < time.Hour {
					t.Errorf("status %+v", s)
				}
				close(h.on)
				time.Sleep(2 * time.Minute)
				if _, err := c.Credentials(t.Context()); err != nil {
					t.Error(err)
				}
				if s := c.Status(); s.Failures != 0 || s.Err != nil || s.Renewing != 0 || h.most.Load() != 1 {
					t.Errorf("status %+v, %d calls at once", s, h.most.Load())
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

// Whatever hangs, what is valid is given out.
func TestCacheKeepsWhatIsValidWhileSourceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hung{mint: mint{life: time.Hour}, on: make(chan struct{}, 1)}
		c := &credentials.Cache{Source: h}
		h.on <- struct{}{}
		wantKey(t, c, "ASIA1")
		for time.Since(begin) < 59*time.Minute {
			at := time.Now()
			wantKey(t, c, "ASIA1")
			if time.Since(at) > 0 {
				t.Fatal("waited")
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if _, err := c.Credentials(t.Context()); err == nil {
			t.Error("got expired credentials")
		}
		close(h.on)
		synctest.Wait()
		wantKey(t, c, "ASIA2")
	})
}

// Credentials that hardly live, as those of a clock that is ahead seem to, are
// not asked for all the time.
func TestCacheDoesNotSpin(t *testing.T) {
	for _, life := range []time.Duration{time.Nanosecond, time.Millisecond, 500 * time.Millisecond, 2 * time.Second} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &mint{life: life}
				c := &credentials.Cache{Source: m}
				ctx, cancel := context.WithCancel(t.Context())
				go c.Run(ctx)
				for time.Since(begin) < time.Minute {
					if creds, err := c.Credentials(t.Context()); err == nil && !creds.Expires.After(time.Now()) {
						t.Fatal("got expired credentials")
					}
					time.Sleep(10 * time.Millisecond)
				}
				if n := m.calls.Load(); n > 61 {
					t.Errorf("%d calls in a minute", n)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}

// Credentials that live 5 s, 64 clients, 30 s: one call for each that were
// issued, and nobody gets expired ones. Nobody waits after the first either.
func TestCacheWithShortLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { shortLives(t, 10*time.Millisecond) })
}

// TestChaosShortLives is TestCacheWithShortLives in real time.
func TestChaosShortLives(t *testing.T) {
	if os.Getenv("HOLDFAST_CHAOS") == "" {
		t.Skip("takes 30 s; make chaos runs it")
	}
	shortLives(t, 0)
}

func shortLives(t *testing.T, pause time.Duration) {
	m := &mint{life: 5 * time.Second, takes: 100 * time.Millisecond}
	c := &credentials.Cache{Source: m}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go c.Run(ctx)
	if _, err := c.Credentials(ctx); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var issued sync.Map
	var answers atomic.Int64
	for range 64 {
		wg.Go(func() {
			for ctx.Err() == nil {
				before := time.Now()
				creds, err := c.Current(ctx)
				if err != nil || !creds.Expires.After(before) || creds.SessionToken == "" {
					t.Errorf("got %v, %v", creds, err)
					return
				}
				issued.Store(creds.AccessKeyID, true)
				answers.Add(1)
				time.Sleep(pause)
			}
		})
	}
	wg.Wait()
	n := 0
	issued.Range(func(any, any) bool { n++; return true })
	// The last renewal may have come with the end.
	if calls := m.calls.Load(); calls > int64(n)+1 || calls > 30/2 {
		t.Errorf("%d calls for %d credentials that were given out", calls, n)
	}
	t.Logf("%d answers, %d calls", answers.Load(), m.calls.Load())
}

func TestCacheTellsOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := &mint{life: time.Hour}
		c := &credentials.Cache{Source: m, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		m.fail.Store(&errMint)
		if _, err := c.Credentials(t.Context()); err == nil {
			t.Fatal("no error")
		}
		synctest.Wait() // those who asked are told before it is logged
		if s := log.String(); !strings.Contains(s, "level=WARN") || !strings.Contains(s, errMint.Error()) || strings.Contains(s, "0001-01-01") {
			t.Errorf("logged %s", s)
		}
		log.Reset()
		m.fail.Store(nil)
		time.Sleep(time.Second)
		wantKey(t, c, "ASIA2")
		synctest.Wait()
		if s := log.String(); !strings.Contains(s, "level=INFO") || !strings.Contains(s, "ASIA2") ||
			strings.Contains(s, "secret") || strings.Contains(s, "token") {
			t.Errorf("logged %s", s)
		}
	})
}
