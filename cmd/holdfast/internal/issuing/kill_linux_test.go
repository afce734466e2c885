package issuing_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A ledger is what the commands printed: no number may be in it twice.
type ledger struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (l *ledger) add(t *testing.T, kind, number string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if number == "" || l.seen[kind+number] {
		t.Errorf("%s %q was used before", kind, number)
	}
	l.seen[kind+number] = true
}

// Four writers issue, revoke and list until each has 50 certificates. Forty of
// their processes are killed, at any time. Copies of the folder that are made
// meanwhile are sound after a repair.
func TestKilledCommands(t *testing.T) {
	const writers, each, kills, copies = 4, 50, 40, 4
	dir := newCA(t)
	start := time.Now()
	mustRun(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app") // how long it takes
	usual := time.Since(start)
	var killed atomic.Int64
	used := &ledger{seen: make(map[string]bool)}
	var all sync.WaitGroup
	for w := range writers {
		random := rand.New(rand.NewPCG(7, uint64(w)))
		run := func(args ...string) (string, bool) {
			var delay time.Duration
			if random.IntN(4) == 0 && killed.Load() < kills {
				delay = 1 + time.Duration(random.Int64N(int64(2*usual)))
			}
			out, dead, err := runIn(t, dir, delay, args...)
			if err != nil {
				t.Error(err)
			}
			if dead {
				killed.Add(1)
			}
			return out, err == nil && !dead
		}
		all.Go(func() {
			for issued := 0; (issued < each || killed.Load() < kills) && !t.Failed(); {
				out, ok := run("ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--json")
				if !ok {
					continue
				}
				issued++
				var c struct{ Serial string }
				if err := json.Unmarshal([]byte(out), &c); err != nil {
					t.Error(err)
				}
				used.add(t, "serial", c.Serial)
				if issued%5 != 0 {
					continue
				}
				run("ca", "revoke", "--serial", c.Serial)
				if out, ok := run("ca", "crl", "--json"); ok {
					var l struct{ Number string }
					if err := json.Unmarshal([]byte(out), &l); err != nil {
						t.Error(err)
					}
					used.add(t, "CRL number", l.Number)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	var copied []string
	for i := range copies {
		to := filepath.Join(dir, fmt.Sprintf("copy-%d", i))
		// cp complains of temporary files that vanish.
		_ = exec.Command("cp", "-r", filepath.Join(dir, "ca"), to).Run()
		copied = append(copied, to)
		select {
		case <-done:
		case <-time.After(usual): // the copies are of different moments
		}
	}
	<-done
	t.Logf("%d kills in %v; one command takes %v", killed.Load(), time.Since(start).Round(time.Second), usual)

	var list []struct{ Serial, State string }
	if err := json.Unmarshal([]byte(mustRun(t, dir, "ca", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, c := range list {
		if known[c.Serial] {
			t.Errorf("serial number %s twice", c.Serial)
		}
		known[c.Serial] = c.State != "missing"
	}
	for name := range used.seen {
		if serial, ok := strings.CutPrefix(name, "serial"); ok && !known[serial] {
			t.Errorf("the certificate %s was printed, but is not in the folder", serial)
		}
	}
	settle(t, dir, "ca")
	for _, c := range copied {
		_, _, _ = runIn(t, dir, 0, "ca", "check", "--dir", c, "--repair") // fails if a signature was interrupted
		settle(t, dir, c)
	}
}

// settle revokes the certificates whose signature was interrupted, and makes the
// next revocation list. Then the folder is sound.
func settle(t *testing.T, dir, folder string) {
	t.Helper()
	var list []struct{ Serial, State string }
	if err := json.Unmarshal([]byte(mustRun(t, dir, "ca", "list", "--dir", folder, "--json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.State == "missing" {
			mustRun(t, dir, "ca", "revoke", "--dir", folder, "--serial", c.Serial)
		}
	}
	mustRun(t, dir, "ca", "crl", "--dir", folder)
	mustRun(t, dir, "ca", "check", "--dir", folder)
}

// On a full disk each command says so, and the folder stays sound.
func TestFullDisk(t *testing.T) {
	dir := newCA(t)
	script := `cd ` + dir + ` && ulimit -f 1 && for i in 1 2 3 4 5; do holdfast ca issue --csr app.csr --subject CN=app >/dev/null 2>told && continue; cat told; exit; done`
	cmd := exec.Command("bash", "-c", script) // bash counts ulimit -f in KiB
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "ca/index.jsonl: file too large") {
		t.Errorf("%v: %s", err, out)
	}
	if got := mustRun(t, dir, "ca", "check"); !strings.Contains(got, "found no problems") {
		t.Error(got)
	}
	mustRun(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=late")
}
