//go:build linux

package daemon_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// Clients keep their credentials while serve may open only 256 files, more
// connections than that are open and idle, the reader of its log is gone, and it
// is killed and started again. The clients never read the token again.
func TestChaosServeSwarm(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, 3*time.Second)
	port := strconv.Itoa(clitest.FreePort(t))
	args := append([]string{"-c", `ulimit -n 256; exec holdfast serve "$@"`, "sh",
		"--port", port, "--certificate", "cert.pem", "--private-key", "key.pem", "--debug"}, s.Up.Args...)
	start := func() *exec.Cmd {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		r.Close() // nobody reads the log
		cmd := exec.Command("sh", args...)
		cmd.Dir, cmd.Stderr = s.Dir, w
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "XDG_RUNTIME_DIR=" + s.Dir}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		w.Close()
		first := make([]byte, 1)
		if _, err := io.ReadFull(out, first); err != nil { // it prints when it serves
			t.Fatal(err)
		}
		out.Close()
		return cmd
	}
	served := start()
	token, err := os.ReadFile(s.Path("holdfast/serve-127.0.0.1-" + port + ".token"))
	if err != nil {
		t.Fatal(err)
	}

	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	occupy := func() {
		for range 300 {
			if c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, time.Second); err == nil {
				idle = append(idle, c)
			}
		}
	}
	var answers atomic.Int64
	var clients sync.WaitGroup
	defer clients.Wait()
	stop := make(chan struct{})
	stopped := sync.OnceFunc(func() { close(stop) })
	defer stopped()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range 20 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				req, err := http.NewRequest("GET", "http://127.0.0.1:"+port+"/credentials", nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", string(token))
				resp, err := client.Do(req)
				if err != nil { // serve is starting again, or made room for another connection
					time.Sleep(10 * time.Millisecond)
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				switch resp.StatusCode {
				case http.StatusOK:
					answers.Add(1)
				case http.StatusServiceUnavailable, http.StatusInternalServerError: // still obtaining credentials
				default:
					t.Errorf("status %d", resp.StatusCode)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	progress := func(what string) {
		t.Helper()
		occupy()
		sessions, before := s.Up.Sessions.Load(), answers.Load()
		clitest.Eventually(t, what, func() bool { return answers.Load() > before+500 && s.Up.Sessions.Load() > sessions+1 })
	}
	progress("answers and renewals")
	for range rounds(2, 30) {
		if err := served.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = served.Wait()
		served = start()
		progress("answers and renewals after a kill")
	}
	stopped()
	clients.Wait()
	if err := served.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := served.Wait(); err != nil {
		t.Error(err)
	}
}
