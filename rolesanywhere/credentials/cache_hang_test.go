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
