//go:build unix

package vending_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/rolesanywhere/trustpolicy"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A workload is serve with an SVID, and an emulator whose sessions are short.
type workload struct {
	*clitest.Served
	t   *testing.T
	dir string
	ca  *signertest.CA
	api *spiffetest.Server
}

func newWorkload(t *testing.T, lifetime string) *workload {
	w := &workload{t: t, dir: t.TempDir()}
	root := signertest.NewCA(t, "root")
	w.ca = root.Intermediate(t, "SPIRE")
	if err := os.WriteFile(filepath.Join(w.dir, "root.pem"), signertest.CertPEM(root.Cert), 0o600); err != nil {
		t.Fatal(err)
	}
	_, flags, stop, err := clitest.RunEmulator(w.dir, "--trust-anchor", "root.pem", "--events", "events.jsonl", "--session-lifetime", lifetime)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	first := w.issue()
	w.api = spiffetest.Start(t, first)
	args := append(strings.Fields(flags), "--private-key", "spiffe:", "--status-listen", "127.0.0.1:0")
	w.Served = clitest.StartServe(t, w.dir, []string{"HOME=" + w.dir, w.api.Variable()}, args...)
	clitest.WaitReady(t, w.Served)
	w.used(first)
	return w
}

func (w *workload) issue() spiffetest.SVID {
	return spiffetest.Issue(w.t, w.ca, "p256", "spiffe://example.org/app", nil)
}

// used waits until there is a session with the SVID.
func (w *workload) used(s spiffetest.SVID) {
	w.t.Helper()
	serial := trustpolicy.SerialNumber(s.Chain[0])
	clitest.Eventually(w.t, "a session of "+serial, func() bool {
		data, err := os.ReadFile(filepath.Join(w.dir, "events.jsonl"))
		if err != nil {
			w.t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var event struct{ EventName string }
			if strings.Contains(line, serial) && json.Unmarshal([]byte(line), &event) == nil && event.EventName == "CreateSession" {
				return true
			}
		}
		return false
	})
}

// The API rotates the SVID while 64 clients ask serve for credentials. No answer fails, and
// each SVID is used.
func TestServeRotatedSVIDs(t *testing.T) {
	t.Parallel()
	w := newWorkload(t, "8s")
	var clients sync.WaitGroup
	var answers, failed atomic.Int64
	done := make(chan struct{})
	for range 64 {
		clients.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(50 * time.Millisecond):
				}
				if status, _, _ := clitest.CredentialsOf(t, w.Served, "/credentials"); status != 200 {
					failed.Add(1)
				}
				answers.Add(1)
			}
		})
	}
	const rotations = 4
	for range rotations {
		next := w.issue()
		w.api.Send(next)
		w.used(next)
	}
	close(done)
	clients.Wait()
	if failed.Load() > 0 || answers.Load() < 64 {
		t.Errorf("%d of %d answers failed", failed.Load(), answers.Load())
	}
	if n := strings.Count(w.Log.String(), "reloaded key and certificate"); n != rotations {
		t.Errorf("%d reloads, want %d", n, rotations)
	}
	t.Logf("%d answers", answers.Load())
}

// The API withdraws the identity, ends and comes back. Until then the SVID stays in use.
func TestServeWithoutWorkloadAPI(t *testing.T) {
	t.Parallel()
	w := newWorkload(t, "8s")
	answer := func() {
		t.Helper()
		if status, _, _ := clitest.CredentialsOf(t, w.Served, "/credentials"); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	w.api.Refuse(spiffetest.PermissionDenied)
	clitest.Eventually(t, "a warning", func() bool { return strings.Contains(w.Log.String(), "has withdrawn the identity") })
	answer()
	w.api.Stop()
	clitest.Eventually(t, "another warning", func() bool { return strings.Contains(w.Log.String(), "no new SVID from the SPIFFE Workload API") })
	answer()
	next := w.issue()
	w.api.Send(next)
	w.api.Restart()
	w.used(next)
	answer()
	if log := w.Log.String(); !strings.Contains(log, "has the SVID again") || strings.Count(log, "withdrawn") != 1 {
		t.Error("the log does not tell what happened once")
	}
}
