//go:build unix

package sshagent

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/internal/sshwire"
)

// TestEndDuringSignature: no signature leaves after the lifetime, whichever clock ends it.
func TestEndDuringSignature(t *testing.T) {
	for name, end := range map[string]func(a *agent, clock *atomic.Int64){
		"forgotten":  func(a *agent, _ *atomic.Int64) { go a.forget() },
		"wall clock": func(_ *agent, clock *atomic.Int64) { clock.Store(int64(8 * time.Hour)) },
	} {
		t.Run(name, func(t *testing.T) {
			key, begun, release := blocking(t)
			a := newAgent(t, key)
			clock := new(atomic.Int64)
			a.now = func() time.Time { return time.Unix(0, clock.Load()) }
			a.setLifetime(8 * time.Hour)
			c := dial(t, serveAgent(t, a))
			lists(t, c, 1)
			if err := sshwire.WriteMessage(c, sshwire.SignRequest, signing(t, key)); err != nil {
				t.Fatal(err)
			}
			<-begun
			end(a, clock)
			for len(a.list()) > 0 {
				time.Sleep(time.Millisecond)
			}
			release()
			if kind, _, err := sshwire.ReadMessage(c); err != nil || kind != sshwire.Failure {
				t.Errorf("type %d, %v", kind, err)
			}
			lists(t, c, 0)
		})
	}
}

// TestEndDuringQuestion: nor does the device sign after a late yes.
func TestEndDuringQuestion(t *testing.T) {
	key := fake(t, "p256")
	a := newAgent(t, key)
	a.confirm = func(context.Context, string) error { a.forget(); return nil }
	if kind, _ := (&session{agent: a}).answer(t.Context(), sshwire.SignRequest, signing(t, key)); kind != sshwire.Failure || key.Signs() != 0 {
		t.Errorf("type %d, %d signatures", kind, key.Signs())
	}
}

// TestLifetimeInSleep: timers stand still while the machine sleeps, and the wall clock can
// be set back.
func TestLifetimeInSleep(t *testing.T) {
	for name, jump := range map[string]struct{ wall, end time.Duration }{
		"awake":    {0, 8 * time.Hour},
		"asleep":   {9 * time.Hour, wallCheck},
		"set back": {-9 * time.Hour, 8 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAgent(t, fake(t, "p256"))
				begin, jumped := time.Now(), new(atomic.Int64)
				a.now = func() time.Time { return time.Now().Add(time.Duration(jumped.Load())) }
				a.setLifetime(8 * time.Hour)
				go func() {
					time.Sleep(time.Second)
					jumped.Store(int64(jump.wall))
				}()
				if !a.expire(t.Context(), 8*time.Hour) || len(a.list()) > 0 || time.Since(begin) != jump.end {
					t.Errorf("%d keys after %v", len(a.list()), time.Since(begin))
				}
			})
		})
	}
}
