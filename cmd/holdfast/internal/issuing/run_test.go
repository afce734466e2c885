package issuing_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// runIn runs holdfast in dir and returns its standard output. It kills the
// process after a delay, unless that is zero.
func runIn(t *testing.T, dir string, killAfter time.Duration, args ...string) (stdout string, killed bool, err error) {
	t.Helper()
	cmd := clitest.PlainCommand(t, args...)
	cmd.Dir = dir
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		return "", false, err
	}
	shot := make(chan bool, 1)
	var timer *time.Timer
	if killAfter > 0 {
		timer = time.AfterFunc(killAfter, func() { shot <- cmd.Process.Kill() == nil })
	}
	err = cmd.Wait()
	if timer != nil && !timer.Stop() && <-shot && err != nil {
		return "", true, nil
	}
	if err != nil {
		err = fmt.Errorf("holdfast %q: %w: %s", args, err, errOut.String())
	}
	return out.String(), false, err
}

func mustRun(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, _, err := runIn(t, dir, 0, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func newCA(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	mustRun(t, dir, "ca", "init", "--private-key", "ca-key.pem", "--generate", "p256", "--plaintext-key", "--subject", "CN=CA")
	mustRun(t, dir, "generate", "--private-key", "app.pem")
	csr := mustRun(t, dir, "csr", "--private-key", "app.pem", "--subject", "CN=app")
	if err := os.WriteFile(filepath.Join(dir, "app.csr"), []byte(csr), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Several programs use a folder at the same time, on every system.
func TestConcurrentCommands(t *testing.T) {
	const writers, each = 3, 4
	dir := newCA(t)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				out, _, err := runIn(t, dir, 0, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--json")
				if err != nil {
					t.Error(err)
					return
				}
				var c struct{ Serial string }
				if err := json.Unmarshal([]byte(out), &c); err != nil {
					t.Error(err)
				}
				for _, args := range [][]string{{"ca", "revoke", "--serial", c.Serial}, {"ca", "crl"}, {"ca", "list"}} {
					if _, _, err := runIn(t, dir, 0, args...); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if out := mustRun(t, dir, "ca", "check"); !strings.Contains(out, fmt.Sprintf("the index lists %d certificates", writers*each)) {
		t.Error(out)
	}
	if out := mustRun(t, dir, "ca", "show", "--json"); !strings.Contains(out, fmt.Sprintf(`"revoked":%d`, writers*each)) || !strings.Contains(out, fmt.Sprintf(`"crl_number":"%d"`, writers*each)) {
		t.Error(out)
	}
	cert := mustRun(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=last")
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, dir, "csr", "--private-key", "app.pem", "--names-from", "cert.pem")
}
