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

// A witness notes what a Cache tells of its renewals.
type witness struct {
	mu   sync.Mutex
	keys []string // "" for an error
	errs []error
}

func (w *witness) renewed(creds credentials.Credentials, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys = append(w.keys, creds.AccessKeyID)
	w.errs = append(w.errs, err)
}

func (w *witness) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.keys)
}

// aDay lets Run renew for a day and calls look after each minute.
func aDay(t *testing.T, c *credentials.Cache, look func(passed time.Duration)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	go c.Run(ctx)
	for range 24 * 60 {
		time.Sleep(time.Minute)
		synctest.Wait()
		look(time.Since(begin))
	}
	cancel()
	synctest.Wait()
}

// Each renewal is told of once, ahead of need.
func TestCacheTellsOfRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &mint{life: time.Hour}, new(witness)
		c := &credentials.Cache{Source: m, Renewed: w.renewed}
		want := map[time.Duration]string{
			time.Minute: "ASIA1", 34 * time.Minute: "ASIA1", 41 * time.Minute: "ASIA2", 69 * time.Minute: "ASIA2",
		}
		aDay(t, c, func(passed time.Duration) {
			keys := w.all()
			if key, look := want[passed]; look && keys[len(keys)-1] != key {
				t.Errorf("after %v the last was %s, want %s", passed, keys[len(keys)-1], key)
			}
			if creds, err := c.Current(t.Context()); err != nil || creds.AccessKeyID != keys[len(keys)-1] {
				t.Errorf("after %v %v is given out, %v; the last was %s", passed, creds, err, keys[len(keys)-1])
			}
		})
		// A session is renewed when 35 to 40 of its 60 minutes are over.
		calls := int(m.calls.Load())
		if lo, hi := 24*60/40, 24*60/35+1; calls < lo || calls > hi {
			t.Errorf("%d sessions in a day, want %d to %d", calls, lo, hi)
		}
		if n := len(w.all()); n != calls {
			t.Errorf("%d of %d were told of", n, calls)
		}
		if s := c.Status(); s.Renewals != calls || s.FailedRenewals != 0 {
			t.Errorf("%d calls, status %+v", calls, s)
		}
	})
}

// Failures are told of, too, and stop nothing.
func TestCacheTellsOfFailedRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &mint{life: time.Hour}, new(witness)
		source := sourceFunc(func(ctx context.Context) (credentials.Credentials, error) {
			creds, err := m.Credentials(ctx)
			if call := m.calls.Load(); call < 5 || call%3 == 0 {
				return creds, errMint
			}
			return creds, err
		})
		c := &credentials.Cache{Source: source, Renewed: w.renewed}
		want := map[time.Duration]string{time.Minute: "ASIA5", 42 * time.Minute: "ASIA7"}
		aDay(t, c, func(passed time.Duration) {
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
			if key != want || (want == "") != errors.Is(w.errs[i], errMint) || (want == "") != (w.errs[i] != nil) {
				t.Errorf("renewal %d: told of %q, %v; want %q", call, key, w.errs[i], want)
			}
		}
		if s := c.Status(); s.Renewals != int(m.calls.Load()) || s.FailedRenewals != failed {
			t.Errorf("%d calls, %d failed, status %+v", m.calls.Load(), failed, s)
		}
	})
}

// What is refused as no credentials counts as a failure.
func TestCacheTellsOfBlanks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := new(witness)
		c := &credentials.Cache{Renewed: w.renewed, Source: sourceFunc(func(context.Context) (credentials.Credentials, error) {
			return credentials.Credentials{AccessKeyID: "ASIA1"}, nil
		})}
		_, _ = c.Credentials(t.Context())
		synctest.Wait()
		if !slices.Equal(w.keys, []string{""}) || !errors.Is(w.errs[0], credentials.ErrIncomplete) {
			t.Errorf("told of %q, %v", w.keys, w.errs)
		}
		if s := c.Status(); s.Renewals != 1 || s.FailedRenewals != 1 {
			t.Errorf("status %+v", s)
		}
	})
}

// Whoever is told may take as long as it wants: nobody waits for it, the
// renewals go on, and it is told of all of them later, one after the other.
func TestCacheWithARenewedThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := &mint{life: time.Hour}, new(witness)
		letGo := make(chan struct{})
		var now, most atomic.Int64
		c := &credentials.Cache{Source: m}
		c.Renewed = func(creds credentials.Credentials, err error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			<-letGo
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
		if calls < 5*60/40 {
			t.Errorf("%d calls in 5 hours", calls)
		}
		wantKey(t, c, fmt.Sprintf("ASIA%d", calls))
		close(letGo)
		synctest.Wait()
		keys := w.all()
		for i, key := range keys {
			if key != fmt.Sprintf("ASIA%d", i+1) {
				t.Errorf("told of %s at %d", key, i+1)
			}
		}
		if len(keys) != int(calls) || most.Load() != 1 {
			t.Errorf("told of %d of %d, %d at once", len(keys), calls, most.Load())
		}
		cancel()
		synctest.Wait()
	})
}

// The end of Run ends the renewal that is under way, whoever asked for it and
// when, and no other begins.
func TestRunEndsRenewals(t *testing.T) {
	for _, asked := range []string{"by Run", "before Run", "by others"} {
		t.Run(asked, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, w := &hung{heeds: true, mint: mint{life: time.Hour}, on: make(chan struct{}, 1)}, new(witness)
				c := &credentials.Cache{Source: h, Renewed: w.renewed}
				ctx, cancel := context.WithCancel(t.Context())
				told := 0
				switch asked {
				case "before Run":
					_, _ = c.Current(t.Context())
					synctest.Wait()
				case "by others":
					h.on <- struct{}{}
					wantKey(t, c, "ASIA1")
					time.Sleep(59 * time.Minute)
					told = 1
					_, _ = c.Current(t.Context()) // begins the next
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
				if n := len(w.errs); n != told+1 || !errors.Is(w.errs[told], context.Canceled) {
					t.Fatalf("told of %d renewals, %v", n, w.errs)
				}
				if took := time.Since(ended); took > 0 {
					t.Errorf("the end took %v", took)
				}
				before := c.Status().Renewals
				if asked == "by others" {
					wantKey(t, c, "ASIA1") // still valid
				}
				c.Retry(t.Context())
				time.Sleep(time.Hour)
				if _, err := c.Credentials(t.Context()); !errors.Is(err, context.Canceled) {
					t.Errorf("after the end: %v", err)
				}
				if n := c.Status().Renewals; n != before {
					t.Errorf("%d renewals began after the end", n-before)
				}

				again, stop := context.WithCancel(t.Context())
				h.on <- struct{}{}
				go c.Run(again)
				synctest.Wait()
				if _, err := c.Credentials(t.Context()); err != nil {
					t.Errorf("when Run was called again: %v", err)
				}
				stop()
				synctest.Wait()
			})
		})
	}
}

// What expires after the end of Run is not given out, with an error that says
// why there is nothing new. A Run whose context has ended renews nothing.
func TestCacheAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &mint{life: time.Hour}
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

// A hook that ends its goroutine, as t.FailNow does, is called the next time.
func TestCacheWithARenewedThatDoesNotReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		c := &credentials.Cache{Source: &mint{life: time.Hour}, Renewed: func(credentials.Credentials, error) {
			calls.Add(1)
			runtime.Goexit()
		}}
		ctx, cancel := context.WithCancel(t.Context())
		go c.Run(ctx)
		time.Sleep(5 * time.Hour)
		cancel()
		synctest.Wait()
		if n := calls.Load(); n < 5*60/40 {
			t.Errorf("called %d times in 5 hours", n)
		}
	})
}
