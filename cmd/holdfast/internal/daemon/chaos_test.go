//go:build linux

package daemon_test

import (
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// rounds returns the number of rounds of a test: many if HOLDFAST_CHAOS is set.
func rounds(few, many int) int {
	if os.Getenv("HOLDFAST_CHAOS") != "" {
		return many
	}
	return few
}

// serve is killed at random times. The next process can use the same port and
// the same token, and its clients receive credentials.
func TestChaosServeIsKilled(t *testing.T) {
	kills := rounds(3, 200)
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, 3*time.Second)
	port := strconv.Itoa(clitest.FreePort(t))
	before, err := os.ReadFile(s.Path("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--certificate", "cert.pem", "--private-key", "key.pem", "--port", port}, s.Up.Args...)
	token := ""
	for range kills {
		s.Served = clitest.StartServe(t, s.Dir, nil, args...)
		if value := s.TokenValue(); token == "" {
			token = value
		} else if value != token {
			t.Errorf("the token changed after a kill: %s after %s", value, token)
		}
		time.Sleep(rand.N(300 * time.Millisecond)) // the test needs a random time
		s.Process.Kill()
		s.End()
	}
	s.Served = clitest.StartServe(t, s.Dir, nil, args...)
	var expires time.Time
	clitest.Eventually(t, "credentials", func() bool { return s.Check(t, &expires) == http.StatusOK })
	s.Signal(t, syscall.SIGTERM)
	if err := s.End(); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(s.Path("key.pem")); err != nil || string(after) != string(before) {
		t.Errorf("the key's file changed: %v", err)
	}
	left, _ := filepath.Glob(s.Path("holdfast/*"))
	t.Logf("%d kills; left behind: %q", kills, left)
	if len(left) > kills/10 {
		t.Errorf("left behind: %q", left)
	}
}

// IMDSv2 session tokens use no memory in serve.
func TestChaosServeManyTokens(t *testing.T) {
	n := rounds(2000, 100_000)
	s := clitest.NewSite(t, time.Hour)
	clitest.WaitReady(t, s.Served)
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	token := func() string {
		req, err := http.NewRequestWithContext(t.Context(), "PUT", s.URL+"/latest/api/token", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-aws-ec2-metadata-token-ttl-seconds", "21600")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b := make([]byte, 256)
		read, _ := resp.Body.Read(b)
		return string(b[:read])
	}
	first := token()
	for range 1000 {
		token()
	}
	before := clitest.PeakRSS(t, s.Process.Pid)
	for range n {
		token()
	}
	after := clitest.PeakRSS(t, s.Process.Pid)
	t.Logf("%d tokens: peak memory %.1f MiB, before %.1f MiB", n, after, before)
	if after-before > 16 {
		t.Errorf("%d tokens took %.1f MiB", n, after-before)
	}
	if resp, _ := clitest.Ask(t, "GET", s.URL+"/latest/meta-data/instance-id", "X-aws-ec2-metadata-token", first); resp.StatusCode != http.StatusOK {
		t.Errorf("the first token: status %d", resp.StatusCode)
	}
}

// Key and certificate are replaced repeatedly, one after the other, during
// requests and renewals.
func TestChaosServeRotates(t *testing.T) {
	t.Parallel()
	rotations := rounds(3, 100)
	s := clitest.NewSite(t, 15*time.Second) // the renewal window is the last five seconds
	clitest.WaitReady(t, s.Served)
	var expires time.Time
	kinds := []string{"p256", "p384", "rsa2048"}
	for i := 0; (i < rotations || s.Up.Sessions.Load() < 3) && !t.Failed(); i++ {
		s.WriteKeyAndCertificate(t, kinds[i%len(kinds)])
		for begin := time.Now(); time.Since(begin) < time.Second; time.Sleep(5 * time.Millisecond) {
			if status := s.Check(t, &expires); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
			if rand.N(100) == 0 {
				s.Signal(t, syscall.SIGHUP)
			}
		}
	}
	s.Signal(t, syscall.SIGHUP)
	if got := clitest.Metric(t, s.Served, `holdfast_renewal_failures_total{role="demo"}`); got != "0" {
		t.Errorf("%s renewals failed", got)
	}
	if events := s.Up.Events.String(); strings.Contains(events, "errorCode") {
		t.Error("the service refused a request")
	}
}
