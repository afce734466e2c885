//go:build linux

package daemon_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// serve renews credentials, answers, and ends on SIGTERM if nobody reads its log
// or if the reader is gone.
func TestServeLogUnread(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]bool{"unread": false, "gone": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := clitest.NewFiles(t, t.TempDir())
			s.Up = clitest.NewUpstream(t, s.CA.Cert, 3*time.Second)
			if err := syscall.Mkfifo(s.Path("log"), 0o600); err != nil {
				t.Fatal(err)
			}
			reader, err := os.OpenFile(s.Path("log"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			if !gone { // fill the pipe
				if err := reader.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
				if _, err := reader.Write(bytes.Repeat([]byte("x"), 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
			}
			args := append([]string{"-c", `exec holdfast serve "$@" 2>log`, "sh", "--port", "0", "--status-listen", "127.0.0.1:0",
				"--certificate", "cert.pem", "--private-key", "key.pem"}, s.Up.Args...)
			s.Served = clitest.StartProgram(t, "sh", s.Dir, nil, args...)
			if gone {
				reader.Close()
			}
			clitest.Eventually(t, "renewals", func() bool {
				return clitest.Metric(t, s.Served, `holdfast_renewals_total{role="demo"}`) >= "3"
			})
			var expires time.Time
			if status := s.Check(t, &expires); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
			s.Signal(t, syscall.SIGTERM)
			if err := s.End(); err != nil {
				t.Error(err)
			}
		})
	}
}
