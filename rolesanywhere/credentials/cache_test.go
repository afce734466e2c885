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

// A fakeSource is a Source of credentials with a fixed lifetime.
type fakeSource struct {
	life  time.Duration
	takes time.Duration
	calls atomic.Int64
	fail  atomic.Pointer[error] // returned while set
}

func (m *fakeSource) Credentials(ctx context.Context) (credentials.Credentials, error) {
	n := m.calls.Add(1)
	time.Sleep(m.takes) // on synctest's clock
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

var errSource = errors.New("source error")

func wantKey(t *testing.T, c *credentials.Cache, want string) {
	t.Helper()
	creds, err := c.Credentials(t.Context())
	if err != nil || creds.AccessKeyID != want {
		t.Errorf("after %v: got %v, %v, want %s", time.Since(begin), creds, err, want)
	}
}

// begin is the initial time of synctest's clock.
var begin = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func TestCacheSharesOneRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeSource{life: time.Hour, takes: time.Second}
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

// Retry ends the delay after a failure and starts no renewal that is not due.
func TestCacheRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeSource{life: time.Hour}
		c := &credentials.Cache{Source: m}
		wantCalls := func(when string, want int64) {
			t.Helper()
			synctest.Wait()
			if n := m.calls.Load(); n != want {
				t.Errorf("%s: %d calls, want %d", when, n, want)
			}
		}
		m.fail.Store(&errSource)
		_, _ = c.Current(t.Context())
		wantCalls("at first", 1)
		_, _ = c.Current(t.Context())
		wantCalls("during the delay", 1)
		m.fail.Store(nil)
		c.Retry(t.Context())
		wantCalls("after Retry", 2)
		wantKey(t, c, "ASIA2")
		c.Retry(t.Context())
		wantCalls("while no renewal is due", 2)
	})
}

// A renewal continues after its caller has stopped waiting.
func TestCacheRenewalOutlivesItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeSource{life: time.Hour, takes: time.Second}
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

// For any session duration, credentials are renewed once per lifetime and
// before they expire.
func TestCacheRenewsBeforeExpiry(t *testing.T) {
	for _, test := range []struct {
		life, minLeft time.Duration // of the returned credentials
	}{
		{12 * time.Hour, 107 * time.Minute},
		{time.Hour, 14 * time.Minute},
		{15 * time.Minute, 4 * time.Minute},
		{time.Minute, 15 * time.Second},
		{5 * time.Second, time.Second},
	} {
		t.Run(test.life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &fakeSource{life: test.life, takes: min(test.life/100, 10*time.Second)}
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
					if left := time.Until(creds.Expires); left < test.minLeft {
						t.Fatalf("%v left, want at least %v", left, test.minLeft)
					}
					time.Sleep(test.life / 200)
				}
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				time.Sleep(m.takes) // a renewal may be in progress
				synctest.Wait()
				// At least 31 % of each lifetime is used.
				used := test.life * 31 / 100
				if n := m.calls.Load(); n > int64(lives*test.life/used)+2 {
					t.Errorf("%d calls in %d lifetimes", n, lives)
				}
			})
		})
	}
}

// Run renews credentials without other callers.
func TestCacheRenewsWithoutCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeSource{life: time.Hour}
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

func TestCacheKeepsValidCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeSource{life: time.Hour}
		c := &credentials.Cache{Source: m}
		wantKey(t, c, "ASIA1")
		if s := c.Status(); !s.Last.Equal(begin) || s.Next.Before(begin.Add(24*time.Minute)) || s.Next.After(begin.Add(45*time.Minute)) {
			t.Errorf("status %+v", s)
		}
		m.fail.Store(&errSource)
		time.Sleep(45 * time.Minute)
		if s := c.Status(); !s.Next.Equal(time.Now()) {
			t.Errorf("a renewal is due: status %+v", s)
		}
		wantKey(t, c, "ASIA1") // and starts a renewal
		synctest.Wait()
		wantKey(t, c, "ASIA1")
		if s := c.Status(); s.Failures != 1 || !errors.Is(s.Err, errSource) || !s.Expires.Equal(begin.Add(time.Hour)) ||
			!s.Last.Equal(time.Now()) || !s.Next.After(s.Last) || s.Next.After(s.Last.Add(time.Second)) {
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
			t.Errorf("%d attempts in 15 minutes", n)
		}
		// Without valid credentials, the error is returned immediately.
		if _, err := c.Credentials(t.Context()); !errors.Is(err, errSource) {
			t.Errorf("error %v, want %v", err, errSource)
		}
		if _, err := c.Current(t.Context()); !errors.Is(err, errSource) {
			t.Errorf("error %v, want %v", err, errSource)
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
		m := &fakeSource{life: time.Hour, takes: time.Second}
		c := &credentials.Cache{Source: m}
		if _, err := c.Current(t.Context()); !errors.Is(err, credentials.ErrNotReady) {
			t.Errorf("error %v", err)
		}
		time.Sleep(500 * time.Millisecond)
		if s := c.Status(); s.Renewing != 500*time.Millisecond || !s.Last.IsZero() {
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

// The Cache does not return incomplete or expired credentials of its Source.
func TestCacheRefusesIncompleteCredentials(t *testing.T) {
	for name, bad := range map[string]credentials.Credentials{
		"empty":   {},
		"partial": {AccessKeyID: "ASIA1", SecretAccessKey: "secret", Expires: time.Now().Add(time.Hour)},
		"expired": {AccessKeyID: "ASIA1", SecretAccessKey: "secret", SessionToken: "token", Expires: time.Now().Add(-time.Hour)},
	} {
		c := &credentials.Cache{Source: sourceFunc(func(context.Context) (credentials.Credentials, error) { return bad, nil })}
		if creds, err := c.Credentials(t.Context()); !errors.Is(err, credentials.ErrIncomplete) || creds != (credentials.Credentials{}) {
			t.Errorf("%s: got %v, %v", name, creds, err)
		}
	}
}

// Credentials with a very short lifetime, for example because the local clock
// is ahead, are not renewed continuously.
func TestCacheLimitsRenewalRate(t *testing.T) {
	for _, life := range []time.Duration{time.Nanosecond, time.Millisecond, 500 * time.Millisecond, 2 * time.Second} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &fakeSource{life: life}
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

// 64 clients use credentials with a lifetime of 5 s for 30 s. There is one call
// per set of credentials, no client gets expired ones, and no client waits
// after the first renewal.
func TestCacheWithShortLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { shortLives(t, 10*time.Millisecond) })
}

// TestChaosShortLives is TestCacheWithShortLifetimes in real time.
func TestChaosShortLives(t *testing.T) {
	if os.Getenv("HOLDFAST_CHAOS") == "" {
		t.Skip("takes 30 s; make chaos runs it")
	}
	shortLives(t, 0)
}

func shortLives(t *testing.T, pause time.Duration) {
	m := &fakeSource{life: 5 * time.Second, takes: 100 * time.Millisecond}
	c := &credentials.Cache{Source: m}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	go c.Run(ctx)
	if _, err := c.Credentials(ctx); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var issued sync.Map
	var returned atomic.Int64
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
				returned.Add(1)
				time.Sleep(pause)
			}
		})
	}
	wg.Wait()
	time.Sleep(m.takes) // a renewal may be in progress
	n := 0
	issued.Range(func(any, any) bool { n++; return true })
	// The last renewal may have ended after the last call of Current.
	if calls := m.calls.Load(); calls > int64(n)+1 || calls > 30/2 {
		t.Errorf("%d calls for %d sets of credentials", calls, n)
	}
	t.Logf("Current returned %d times, %d calls", returned.Load(), m.calls.Load())
}

func TestCacheLogsFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := &fakeSource{life: time.Hour}
		c := &credentials.Cache{Source: m, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		m.fail.Store(&errSource)
		if _, err := c.Credentials(t.Context()); err == nil {
			t.Fatal("no error")
		}
		synctest.Wait() // callers continue before the failure is logged
		if s := log.String(); !strings.Contains(s, "level=WARN") || !strings.Contains(s, "were not obtained") || !strings.Contains(s, errSource.Error()) || strings.Contains(s, "0001-01-01") {
			t.Errorf("logged %s", s)
		}
		log.Reset()
		m.fail.Store(nil)
		time.Sleep(time.Second)
		wantKey(t, c, "ASIA2")
		synctest.Wait()
		if s := log.String(); !strings.Contains(s, "level=INFO") || !strings.Contains(s, "were obtained") || !strings.Contains(s, "ASIA2") ||
			strings.Contains(s, "secret") || strings.Contains(s, "token") {
			t.Errorf("logged %s", s)
		}
		for _, want := range []string{"were not renewed", "were renewed"} {
			log.Reset()
			if want == "were not renewed" {
				m.fail.Store(&errSource)
			} else {
				m.fail.Store(nil)
			}
			time.Sleep(time.Hour)
			_, _ = c.Credentials(t.Context()) // the log tells
			synctest.Wait()
			if s := log.String(); !strings.Contains(s, want) {
				t.Errorf("logged %s, want %q", s, want)
			}
		}
	})
}
