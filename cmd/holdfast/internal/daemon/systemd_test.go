//go:build linux

package daemon_test

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// serve uses a socket from systemd, and sends READY=1, WATCHDOG=1 and
// STOPPING=1.
func TestServeUnderSystemd(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.Path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	l, file := systemdSocket(t)
	// LISTEN_PID must be the process ID of holdfast. exec keeps the ID of the
	// shell.
	cmd := exec.Command("sh", append([]string{"-c", `export LISTEN_PID=$$; exec holdfast "$@"`, "sh", "serve", "--certificate", "cert.pem", "--private-key", "key.pem"}, s.Up.Args...)...)
	cmd.Dir = s.Dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "RUNTIME_DIRECTORY=" + s.Dir,
		"NOTIFY_SOCKET=" + s.Path("notify"), "WATCHDOG_USEC=100000", "LISTEN_FDS=1", "LISTEN_FDNAMES=holdfast.socket"}
	cmd.ExtraFiles = []*os.File{file}
	log := new(clitest.LockedBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	file.Close()
	expectState := func(want string) {
		t.Helper()
		if err := manager.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		for buf := make([]byte, 4096); ; {
			n, err := manager.Read(buf)
			if err != nil {
				t.Fatalf("%s: %v\n%s", want, err, log)
			}
			if strings.Contains(string(buf[:n]), want) {
				return
			}
		}
	}
	expectState("READY=1")
	expectState("WATCHDOG=1")
	expectState("WATCHDOG=1")
	token, err := os.ReadFile(filepath.Join(s.Dir, "serve-127.0.0.1-"+strconv.Itoa(l.Addr().(*net.TCPAddr).Port)+".token"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, _ := clitest.Ask(t, "GET", "http://"+l.Addr().String()+"/credentials", "Authorization", string(token)); resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expectState("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
}

// systemdSocket returns a listener and a duplicate of its file descriptor to
// pass to serve. Like a socket from systemd, it does not use multipath TCP.
func systemdSocket(t *testing.T) (net.Listener, *os.File) {
	t.Helper()
	l, err := loopback.Listen(t.Context(), "127.0.0.1:0", false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return l, file
}

// serve answers clients while there are many connections without a complete
// request.
func TestServeWithIdleConnections(t *testing.T) {
	t.Parallel()
	const want = 10_000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	n := int(min(want, limit.Cur/2))
	s := clitest.NewSite(t, time.Hour)
	s.Patience = time.Minute // client and server share the machine
	clitest.WaitReady(t, s.Served)
	conns := make([]net.Conn, n)
	var wg sync.WaitGroup
	for part := range 8 {
		wg.Go(func() {
			for i := part; i < n; i += 8 {
				c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
				if err != nil {
					t.Error(err)
					return
				}
				conns[i] = c
				if i%2 == 0 {
					_, _ = io.WriteString(c, "GET /credentials HT") // serve may already have closed it
				}
			}
		})
	}
	var expires time.Time
	asked := 0
	held := make(chan struct{})
	go func() {
		wg.Wait()
		close(held)
	}()
	for open := true; open; asked++ {
		select {
		case <-held:
			open = false
		default:
		}
		if status := s.Check(t, &expires); status != http.StatusOK {
			t.Errorf("status %d", status)
		}
	}
	t.Logf("%d connections, %d answers meanwhile; open %s, dropped %s", n, asked,
		clitest.Metric(t, s.Served, "holdfast_connections_open"), clitest.Metric(t, s.Served, "holdfast_connections_dropped_total"))
	if open, err := strconv.Atoi(clitest.Metric(t, s.Served, "holdfast_connections_open")); err != nil || open > 512 {
		t.Errorf("%d connections are open, %v", open, err)
	}
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}
