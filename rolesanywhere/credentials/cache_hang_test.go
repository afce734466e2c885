package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// A blocking log does not block callers.
func TestCacheWithBlockingLog(t *testing.T) {
	for _, fail := range []*error{nil, &errSource} {
		synctest.Test(t, func(t *testing.T) {
			m := &fakeSource{life: time.Hour}
			log := blockingLog{slog.DiscardHandler, make(chan struct{}, 1)}
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

// A blockingLog blocks on each record until it receives from read.
type blockingLog struct {
	slog.Handler
	read chan struct{}
}

func (l blockingLog) Enabled(context.Context, slog.Level) bool { return true }

func (l blockingLog) Handle(context.Context, slog.Record) error {
	<-l.read
	return nil
}

// hangingSource is a Source that blocks until it receives from on, or until its
// context ends if it respects the context.
type hangingSource struct {
	fakeSource
	respectsContext bool
	on              chan struct{}
	now             atomic.Int64 // calls in progress
	most            atomic.Int64
}

func (h *hangingSource) Credentials(ctx context.Context) (credentials.Credentials, error) {
	h.most.Store(max(h.most.Load(), h.now.Add(1)))
	defer h.now.Add(-1)
	done := ctx.Done()
	if !h.respectsContext {
		done = nil
	}
	select {
	case <-h.on:
	case <-done:
		return credentials.Credentials{}, context.Cause(ctx)
	}
	return h.fakeSource.Credentials(context.WithoutCancel(ctx))
}

// A Source that never returns does not block callers forever, and is not called
// again in the meantime.
func TestCacheWithHangingSource(t *testing.T) {
	for _, respectsContext := range []bool{true, false} {
		t.Run(fmt.Sprintf("respectsContext=%t", respectsContext), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hangingSource{fakeSource: fakeSource{life: time.Hour}, respectsContext: respectsContext, on: make(chan struct{})}
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
				if s := c.Status(); !respectsContext && s.Renewing < time.Hour {
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

// While the Source hangs, the Cache returns valid credentials.
func TestCacheKeepsValidCredentialsWhileSourceHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hangingSource{fakeSource: fakeSource{life: time.Hour}, on: make(chan struct{}, 1)}
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
