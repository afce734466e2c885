//go:build unix

package spiffe

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestWatchFlood: of the messages that an API sends without a rest, the newest is handled
// once in each growing pause. The log gets one line for it at most.
func TestWatchFlood(t *testing.T) {
	valid := issue(t, signertest.NewCA(t, "root"), 19)
	// Messages come during the first 100 seconds. The last one waits for a pause.
	handled := []time.Duration{0, 1, 3, 7, 15, 31, 61, 91, 121}
	for _, test := range []struct {
		name    string
		message func(n int) []spiffetest.SVID
		changes int // at most
	}{
		{"new SVIDs", func(n int) []spiffetest.SVID { return valid[n%19 : n%19+1] }, len(handled)},
		{"invalid SVIDs", func(n int) []spiffetest.SVID {
			bad := valid[0]
			bad.ID = fmt.Sprint("spiffe://example.org/a", n)
			return []spiffetest.SVID{bad}
		}, 0},
		{"withdrawn and given", func(n int) []spiffetest.SVID { return valid[:n%3%2] }, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &messages{make(chan svids, 1), make(chan error, 1)}
				put := func(message []spiffetest.SVID) {
					t.Helper()
					all, err := decodeResponse(spiffetest.Message(t, message...))
					if err != nil {
						t.Error(err)
						return
					}
					m.put(all)
				}
				begin, log := time.Now(), new(lockedBuffer)
				var changes []time.Duration
				var newest *x509.Certificate
				w := watcher{
					logger: slog.New(slog.NewTextHandler(log, nil)), rest: await.Pause,
					changed: func(leaf *x509.Certificate) {
						changes, newest = append(changes, time.Since(begin)), leaf
					},
				}
				done := make(chan error, 1)
				go func() {
					_, err := w.handle(t.Context(), m)
					done <- err
				}()
				sent := 0
				for ; time.Since(begin) < 100*time.Second; sent++ {
					put(test.message(sent))
					time.Sleep(50 * time.Millisecond)
				}
				time.Sleep(60 * time.Second)
				synctest.Wait()
				if lines := strings.Count(log.String(), "\n"); lines > len(handled) {
					t.Errorf("%d lines in the log:\n%s", lines, log)
				}
				if len(changes) > test.changes {
					t.Errorf("%d changes in %d messages", len(changes), sent)
				}
				for i, at := range changes {
					if len(changes) == len(handled) && at != handled[i]*time.Second {
						t.Errorf("change %d after %v, want %v", i, at, handled[i]*time.Second)
					}
				}
				if last := test.message(sent - 1); test.changes > 1 && !newest.Equal(last[0].Chain[0]) {
					t.Error("the newest SVID is not told")
				}
				put(valid[8:9]) // after a rest, at once
				at := time.Since(begin)
				synctest.Wait()
				if !newest.Equal(valid[8].Chain[0]) || changes[len(changes)-1] != at {
					t.Errorf("the last SVID is not told at once: %v", changes)
				}
				ended := errors.New("the end")
				m.ended <- ended
				if err := <-done; err != ended {
					t.Error(err)
				}
			})
		})
	}
}
