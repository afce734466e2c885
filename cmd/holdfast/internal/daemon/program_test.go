//go:build linux

package daemon_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/internal/exectest"
)

// serveProgram runs serve with a key behind a program.
func serveProgram(t *testing.T, life time.Duration) *clitest.Site {
	t.Helper()
	program, err := exec.LookPath(exectest.Name)
	if err != nil {
		t.Fatal(err)
	}
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, life)
	s.Served = clitest.StartServe(t, s.Dir, nil, append([]string{
		"--certificate", "cert.pem", "--private-key", "exec:program=" + program + ";key=" + s.Path("key.pem"), "--status-listen", "127.0.0.1:0",
	}, s.Up.Args...)...)
	clitest.WaitReady(t, s.Served)
	return s
}

// childOf returns a child of a process; 0: it has none.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for _, word := range strings.Fields(string(list)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			return child
		}
	}
	return 0
}

// gone reports whether a process has ended.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

// While the program is killed again and again, 16 clients get credentials, and serve
// renews them.
func TestServeWhileProgramIsKilled(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, 3*time.Second)
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for expires := (time.Time{}); ; time.Sleep(20 * time.Millisecond) {
				select {
				case <-stop:
					return
				default:
					s.Check(t, &expires)
				}
			}
		})
	}
	for range 4 {
		child := childOf(t, s.Process.Pid)
		if child != 0 {
			if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
		}
		sessions := s.Up.Sessions.Load()
		clitest.Eventually(t, "a renewal after the program was killed", func() bool { return s.Up.Sessions.Load() > sessions })
		if child == 0 || childOf(t, s.Process.Pid) == child {
			t.Errorf("the program was not started again: %d", child)
		}
	}
	close(stop)
	clients.Wait()
	if failures := clitest.Metric(t, s.Served, `holdfast_renewal_failures_total{role="demo"}`); failures != "0" {
		t.Errorf("%s renewals failed", failures)
	}
	var expires time.Time
	if status := s.Check(t, &expires); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}

// The program ends with serve, however that ends.
func TestProgramEndsWithServe(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		s := serveProgram(t, time.Hour)
		child := childOf(t, s.Process.Pid)
		if child == 0 {
			t.Fatal("no program runs")
		}
		s.Signal(t, sig)
		var exit *exec.ExitError
		if err := s.End(); sig == syscall.SIGTERM && err != nil || sig == syscall.SIGKILL && !errors.As(err, &exit) {
			t.Errorf("%v: %v", sig, err)
		}
		clitest.Eventually(t, "the program has ended", func() bool { return gone(child) })
	}
}
