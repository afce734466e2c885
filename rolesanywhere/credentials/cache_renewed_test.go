package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A renewalLog records calls of Cache.Renewed.
type renewalLog struct {
	mu   sync.Mutex
	keys []string // "" for an error
	errs []error
}

func (w *renewalLog) renewed(creds credentials.Credentials, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys = append(w.keys, creds.AccessKeyID)
	w.errs = append(w.errs, err)
}

func (w *renewalLog) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.keys)
}

// runForDay runs Run for a day and calls check after each minute.
func runForDay(t *testing.T, c *credentials.Cache, check func(passed time.Duration)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go c.Run(ctx)
	for range 24 * 60 {
		time.Sleep(time.Minute)
		synctest.Wait()
		check(time.Since(begin))
	}
	cancel()
	synctest.Wait()
}

// Renewed is called once for each renewal, before the credentials expire.
func TestCacheCallsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &fakeSource{life: time.Hour}, new(renewalLog)
		c := &credentials.Cache{Source: m, Renewed: w.renewed}
		want := map[time.Duration]string{
			time.Minute: "ASIA1", 23 * time.Minute: "ASIA1", 46 * time.Minute: "ASIA2", 47 * time.Minute: "ASIA2",
		}
		runForDay(t, c, func(passed time.Duration) {
			keys := w.all()
			if key, look := want[passed]; look && keys[len(keys)-1] != key {
				t.Errorf("after %v the last was %s, want %s", passed, keys[len(keys)-1], key)
			}
			if creds, err := c.Current(t.Context()); err != nil || creds.AccessKeyID != keys[len(keys)-1] {
				t.Errorf("after %v Current returns %v, %v; Renewed was last called with %s", passed, creds, err, keys[len(keys)-1])
			}
		})
		// A session is renewed when 24 to 45 of its 60 minutes are over.
		calls := int(m.calls.Load())
		if lo, hi := 24*60/45, 24*60/24+1; calls < lo || calls > hi {
			t.Errorf("%d sessions in a day, want %d to %d", calls, lo, hi)
		}
		if n := len(w.all()); n != calls {
			t.Errorf("Renewed was called %d times, want %d", n, calls)
		}
		if s := c.Status(); s.Renewals != calls || s.FailedRenewals != 0 {
			t.Errorf("%d calls, status %+v", calls, s)
		}
	})
}

// Renewed is also called for failed renewals, and renewals continue.
func TestCacheCallsRenewedAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &fakeSource{life: time.Hour}, new(renewalLog)
		source := sourceFunc(func(ctx context.Context) (credentials.Credentials, error) {
			creds, err := m.Credentials(ctx)
			if call := m.calls.Load(); call < 5 || call%3 == 0 {
				return creds, errSource
			}
			return creds, err
		})
		c := &credentials.Cache{Source: source, Renewed: w.renewed}
		want := map[time.Duration]string{time.Minute: "ASIA5", 46 * time.Minute: "ASIA7"}
		runForDay(t, c, func(passed time.Duration) {
			if key, look := want[passed]; look {
				if keys := w.all(); keys[len(keys)-1] != key {
					t.Errorf("after %v the last was %q, want %s", passed, keys[len(keys)-1], key)
				}
			}
		})
		failed := 0
		for i, key := range w.all() {
			call, want := i+1, fmt.Sprintf("ASIA%d", i+1)
			if call < 5 || call%3 == 0 {
				failed++
				want = ""
			}
			if key != want || (want == "") != errors.Is(w.errs[i], errSource) || (want == "") != (w.errs[i] != nil) {
				t.Errorf("renewal %d: Renewed was called with %q, %v; want %q", call, key, w.errs[i], want)
			}
		}
		if s := c.Status(); s.Renewals != int(m.calls.Load()) || s.FailedRenewals != failed {
			t.Errorf("%d calls, %d failed, status %+v", m.calls.Load(), failed, s)
		}
	})
}

// Incomplete credentials count as a failure.
func TestCacheCallsRenewedAfterIncompleteCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(renewalLog)
		c := &credentials.Cache{Renewed: w.renewed, Source: sourceFunc(func(context.Context) (credentials.Credentials, error) {
			return credentials.Credentials{AccessKeyID: "ASIA1"}, nil
		})}
		_, _ = c.Credentials(t.Context())
		synctest.Wait()
		if !slices.Equal(w.keys, []string{""}) || !errors.Is(w.errs[0], credentials.ErrIncomplete) {
			t.Errorf("Renewed was called with %q, %v", w.keys, w.errs)
		}
		if s := c.Status(); s.Renewals != 1 || s.FailedRenewals != 1 {
			t.Errorf("status %+v", s)
		}
	})
}

// If Renewed blocks, callers do not wait and renewals continue. Later it is
// called for each of them, one after the other.
func TestCacheWithBlockingRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &fakeSource{life: time.Hour}, new(renewalLog)
		release := make(chan struct{})
		var now, most atomic.Int64
		c := &credentials.Cache{Source: m}
		c.Renewed = func(creds credentials.Credentials, err error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			<-release
			c.Status() // no lock is held
			w.renewed(creds, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go c.Run(ctx)
		wantKey(t, c, "ASIA1")
		if took := time.Since(begin); took > 0 {
			t.Errorf("waited %v", took)
		}
		time.Sleep(5 * time.Hour)
		calls := m.calls.Load()
		if calls < 5*60/45 {
			t.Errorf("%d calls in 5 hours", calls)
		}
		wantKey(t, c, fmt.Sprintf("ASIA%d", calls))
		close(release)
		synctest.Wait()
		keys := w.all()
		for i, key := range keys {
			if key != fmt.Sprintf("ASIA%d", i+1) {
				t.Errorf("call %d of Renewed has %s", i+1, key)
			}
		}
		if len(keys) != int(calls) || most.Load() != 1 {
			t.Errorf("Renewed was called %d times, want %d; %d concurrent calls", len(keys), calls, most.Load())
		}
		cancel()
		synctest.Wait()
	})
}

// The end of Run cancels the renewal in progress, no matter who started it and
// when. No other renewal starts.
func TestRunEndsRenewals(t *testing.T) {
	for _, started := range []string{"by Run", "before Run", "by another caller"} {
		t.Run(started, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, w := &hangingSource{respectsContext: true, fakeSource: fakeSource{life: time.Hour}, on: make(chan struct{}, 1)}, new(renewalLog)
				c := &credentials.Cache{Source: h, Renewed: w.renewed}
				ctx, cancel := context.WithCancel(t.Context())
				before := 0 // calls of Renewed
				switch started {
				case "before Run":
					_, _ = c.Current(t.Context())
					synctest.Wait()
				case "by another caller":
					h.on <- struct{}{}
					wantKey(t, c, "ASIA1")
					time.Sleep(59 * time.Minute)
					before = 1
					_, _ = c.Current(t.Context()) // starts the next renewal
				}
				done := make(chan error, 1)
				go func() { done <- c.Run(ctx) }()
				time.Sleep(time.Second)
				if s := c.Status(); s.Renewing == 0 {
					t.Fatalf("status %+v", s)
				}
				cancel()
				ended := time.Now()
				if err := <-done; !errors.Is(err, context.Canceled) {
					t.Errorf("Run ended with %v", err)
				}
				synctest.Wait()
				if n := len(w.errs); n != before+1 || !errors.Is(w.errs[before], context.Canceled) {
					t.Fatalf("Renewed was called %d times, %v", n, w.errs)
				}
				if took := time.Since(ended); took > 0 {
					t.Errorf("cancellation took %v", took)
				}
				renewals := c.Status().Renewals
				if started == "by another caller" {
					wantKey(t, c, "ASIA1") // still valid
				}
				c.Retry(t.Context())
				time.Sleep(time.Hour)
				if _, err := c.Credentials(t.Context()); !errors.Is(err, context.Canceled) {
					t.Errorf("after the end: %v", err)
				}
				if n := c.Status().Renewals; n != renewals {
					t.Errorf("%d renewals started after the end", n-renewals)
				}

				again, stop := context.WithCancel(t.Context())
				h.on <- struct{}{}
				go c.Run(again)
				synctest.Wait()
				if _, err := c.Credentials(t.Context()); err != nil {
					t.Errorf("second call of Run: %v", err)
				}
				stop()
				synctest.Wait()
			})
		})
	}
}

// If credentials expire after the end of Run, the error contains the cause of
// the end. Run with an ended context renews nothing.
func TestCacheAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &fakeSource{life: time.Hour}
		c := &credentials.Cache{Source: m}
		wantKey(t, c, "ASIA1")
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the program ends")
		cancel(why)
		if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
		time.Sleep(59 * time.Minute)
		wantKey(t, c, "ASIA1")
		time.Sleep(time.Minute)
		for _, get := range []func(context.Context) (credentials.Credentials, error){c.Credentials, c.Current} {
			if creds, err := get(t.Context()); !errors.Is(err, why) || creds != (credentials.Credentials{}) {
				t.Errorf("%v, %v", creds, err)
			}
		}
		if n := m.calls.Load(); n != 1 {
			t.Errorf("%d calls", n)
		}
	})
}

// If Renewed ends its goroutine, as t.FailNow does, it is called again next
// time.
func TestCacheWithRenewedThatExits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		c := &credentials.Cache{Source: &fakeSource{life: time.Hour}, Renewed: func(credentials.Credentials, error) {
			calls.Add(1)
			runtime.Goexit()
		}}
		ctx, cancel := context.WithCancel(t.Context())
		go c.Run(ctx)
		time.Sleep(5 * time.Hour)
		cancel()
		synctest.Wait()
		if n := calls.Load(); n < 5*60/45 {
			t.Errorf("called %d times in 5 hours", n)
		}
	})
}
