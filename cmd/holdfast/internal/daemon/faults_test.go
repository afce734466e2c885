//go:build linux

package daemon_test

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// While AWS fails, serve returns valid credentials until they expire, then
// status 503, and new credentials when AWS is available again.
func TestServeWhileAWSFails(t *testing.T) {
	t.Parallel()
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, fault := range map[string]http.HandlerFunc{
		"down":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hanging": hang,
		"500":     answer(500, `{"message":"no"}`),
		"429":     answer(429, `{"message":"slow down"}`),
		"403":     answer(403, `{"message":"Untrusted signing certificate"}`),
		"garbage": answer(201, "\x00\xff{{{{"),
		"html":    answer(200, "<html>log in</html>"),
		"blank":   answer(201, `{"credentialSet":[{"credentials":{"accessKeyId":"","secretAccessKey":"","sessionToken":"","expiration":""}}]}`),
		"null":    answer(201, `{"credentialSet":[{"credentials":null}]}`),
		"expired": answer(201, `{"credentialSet":[{"credentials":{"accessKeyId":"ASIA1","secretAccessKey":"s","sessionToken":"t","expiration":"2001-01-01T00:00:00Z"}}]}`),
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A renewal takes longer than clients wait.
			s := clitest.NewSite(t, 5*time.Second, "--timeout", (2 * clitest.AnswerTimeout).String())
			clitest.WaitReady(t, s.Served)
			s.Up.Break(fault)
			var expires time.Time
			gone := false
			clitest.Eventually(t, "the credentials expire", func() bool {
				gone = s.Check(t, &expires) == http.StatusServiceUnavailable
				return gone
			})
			clitest.Eventually(t, "a renewal fails", func() bool {
				return clitest.Metric(t, s.Served, `holdfast_renewal_failures_total{role="demo"}`) != "0"
			})
			if resp, body := clitest.Ask(t, "GET", s.Status+"/readyz"); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"error"`) {
				t.Errorf("readyz: %d %s", resp.StatusCode, body)
			}
			if resp, _ := clitest.Ask(t, "GET", s.Status+"/healthz"); resp.StatusCode != http.StatusOK {
				t.Errorf("healthz: %d", resp.StatusCode)
			}
			s.Up.Heal()
			clitest.Eventually(t, "credentials are back", func() bool { return s.Check(t, &expires) == http.StatusOK })
		})
	}
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		s := clitest.NewSite(t, 12*time.Second)
		clitest.WaitReady(t, s.Served)
		var expires time.Time
		for range 2 {
			// The renewal takes as long as the requests: all of them are sent
			// while it is in progress.
			var begun atomic.Bool
			answered := make(chan struct{})
			answer := sync.OnceFunc(func() { close(answered) })
			t.Cleanup(answer)
			s.Up.Break(func(w http.ResponseWriter, r *http.Request) {
				begun.Store(true)
				<-answered
				s.Up.Emulator.ServeHTTP(w, r)
			})
			clitest.Eventually(t, "a renewal begins", begun.Load)
			for range 20 {
				// On a slow machine the credentials can expire meanwhile.
				if status := s.Check(t, &expires); status != http.StatusOK && time.Now().Before(expires) {
					t.Fatalf("status %d", status)
				}
			}
			old := expires
			answer()
			clitest.Eventually(t, "new credentials", func() bool {
				return s.Check(t, &expires) == http.StatusOK && expires.After(old)
			})
		}
	})
}

// While keys are opened, clients receive status 503, and SIGTERM ends serve
// even if a key is never available.
func TestServeWhileKeysAreOpened(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	key, err := os.ReadFile(s.Path("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, keyArrives := range []bool{true, false} {
		port := strconv.Itoa(clitest.FreePort(t))
		cmd := exec.Command("holdfast", append([]string{"serve", "--port", port, "--certificate", s.Path("cert.pem"), "--private-key", "-"}, s.Up.Args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "XDG_RUNTIME_DIR=" + s.Dir}
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var log clitest.LockedBuffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		url := "http://127.0.0.1:" + port + "/credentials"
		clitest.Eventually(t, "it listens", func() bool {
			c, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		if resp, body := clitest.Ask(t, "GET", url); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"Message":"holdfast is still opening`) {
			t.Errorf("status %d, %s", resp.StatusCode, body)
		}
		if keyArrives {
			if _, err := stdin.Write(key); err != nil {
				t.Fatal(err)
			}
			stdin.Close()
			token := filepath.Join(s.Dir, "holdfast", "serve-127.0.0.1-"+port+".token")
			clitest.Eventually(t, "credentials", func() bool {
				value, err := os.ReadFile(token)
				if err != nil {
					return false
				}
				resp, _ := clitest.Ask(t, "GET", url, "Authorization", string(value))
				return resp.StatusCode == http.StatusOK
			})
		}
		begin := time.Now()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); (err == nil) != keyArrives || time.Since(begin) > 30*time.Second {
			t.Errorf("it ended with %v after %v\n%s", err, time.Since(begin), &log)
		}
	}
}

// If AWS is unavailable at the start, serve returns status 503 until it is
// available.
func TestServeStartsWithoutAWS(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	s.Up.Break(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s.Served = clitest.StartServe(t, s.Dir, nil, append([]string{"--certificate", "cert.pem", "--private-key", "key.pem", "--status-listen", "127.0.0.1:0", "--timeout", "1s"}, s.Up.Args...)...)
	var expires time.Time
	if status := s.Check(t, &expires); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	resp, body := clitest.Ask(t, "PUT", s.URL+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("token: status %d", resp.StatusCode)
	}
	resp, body = clitest.Ask(t, "GET", s.URL+"/latest/meta-data/iam/security-credentials/demo", "X-aws-ec2-metadata-token", body)
	if resp.StatusCode != http.StatusServiceUnavailable || !json.Valid([]byte(body)) {
		t.Errorf("metadata service: status %d, %q", resp.StatusCode, body)
	}
	s.Up.Heal()
	clitest.Eventually(t, "credentials", func() bool { return s.Check(t, &expires) == http.StatusOK })
}

// If a file is missing, truncated or invalid, the current key and certificate
// remain in use until both files are valid.
func TestServeKeepsValidIdentity(t *testing.T) {
	t.Parallel()
	s := clitest.NewSite(t, 5*time.Second)
	clitest.WaitReady(t, s.Served)
	read := func(name string) []byte {
		b, err := os.ReadFile(s.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cert, key := read("cert.pem"), read("key.pem")
	other := signertest.NewKey(t, "p256")
	expired := s.CA.Issue(t, signertest.NewKey(t, "p256"), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	failures := func() int {
		n, err := strconv.Atoi(clitest.Metric(t, s.Served, `holdfast_reload_failures_total{role="demo"}`))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	reloads := func() string { return clitest.Metric(t, s.Served, `holdfast_reloads_total{role="demo"}`) }
	var expires time.Time
	for _, bad := range []struct {
		name string
		do   func()
	}{
		{"certificate removed", func() { os.Remove(s.Path("cert.pem")) }},
		{"certificate truncated", func() { s.Write(t, "cert.pem", cert[:len(cert)/2]) }},
		{"certificate empty", func() { s.Write(t, "cert.pem", nil) }},
		{"certificate of another key", func() { s.Write(t, "cert.pem", signertest.CertPEM(s.CA.Issue(t, other, nil))) }},
		{"certificate expired", func() { s.Write(t, "cert.pem", signertest.CertPEM(expired)) }},
		{"key removed", func() { os.Remove(s.Path("key.pem")); s.Write(t, "cert.pem", cert) }},
		{"key truncated", func() { s.Write(t, "key.pem", key[:len(key)/2]) }},
		{"key empty", func() { s.Write(t, "key.pem", nil) }},
		{"key is another", func() { s.Write(t, "key.pem", signertest.KeyPEM(t, other)) }},
	} {
		bad.do()
		before := failures()
		s.Signal(t, syscall.SIGHUP)
		clitest.Eventually(t, bad.name+" is noticed", func() bool { return failures() > before })
		if n := reloads(); n != "0" {
			t.Fatalf("%s: %s reloads", bad.name, n)
		}
		s.Check(t, &expires)
	}
	calls := s.Up.Sessions.Load()
	clitest.Eventually(t, "a renewal with the old key", func() bool {
		s.Check(t, &expires)
		return s.Up.Sessions.Load() > calls
	})
	// From ECDSA to RSA: serve notices the replaced files without a signal.
	s.WriteKeyAndCertificate(t, "rsa2048")
	clitest.Eventually(t, "the new key and certificate are in use", func() bool { return reloads() != "0" })
	calls = s.Up.Sessions.Load()
	clitest.Eventually(t, "a renewal with the new key", func() bool { return s.Up.Sessions.Load() > calls+1 })
	if n := clitest.Metric(t, s.Served, `holdfast_renewal_failures_total{role="demo"}`); n != "0" {
		t.Errorf("%s renewals failed", n)
	}
	if events := s.Up.Events.String(); strings.Contains(events, "algorithmKeyMismatch") || strings.Contains(events, "errorCode") {
		t.Errorf("the service refused a request:\n%s", events)
	}
	s.Check(t, &expires)
}

// If the certificate has expired, serve reloads it before the next renewal,
// without a signal.
func TestServeReloadsExpiredCertificate(t *testing.T) {
	t.Parallel()
	s := &clitest.Site{Dir: t.TempDir(), CA: signertest.NewCA(t, "root")}
	s.Up = clitest.NewUpstream(t, s.CA.Cert, 4*time.Second)
	key := signertest.NewKey(t, "p256")
	s.Write(t, "key.pem", signertest.KeyPEM(t, key))
	end := time.Now().Add(10 * time.Second) // serve must be ready before this time
	s.Write(t, "cert.pem", signertest.CertPEM(s.CA.Issue(t, key, func(c *x509.Certificate) { c.NotAfter = end })))
	s.Served = clitest.StartServe(t, s.Dir, nil, append([]string{"--certificate", "cert.pem", "--private-key", "key.pem", "--status-listen", "127.0.0.1:0"}, s.Up.Args...)...)
	clitest.WaitReady(t, s.Served)
	clitest.Eventually(t, "a renewal fails", func() bool {
		return clitest.Metric(t, s.Served, `holdfast_renewal_failures_total{role="demo"}`) != "0"
	})
	s.Write(t, "cert.pem", signertest.CertPEM(s.CA.Issue(t, key, nil)))
	var expires time.Time
	calls := s.Up.Sessions.Load()
	clitest.Eventually(t, "a renewal", func() bool { return s.Up.Sessions.Load() > calls })
	clitest.Eventually(t, "credentials", func() bool { return s.Check(t, &expires) == http.StatusOK })
}

// After SIGTERM, serve ends quickly even if clients hold connections open.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	s := clitest.NewSite(t, time.Hour)
	clitest.WaitReady(t, s.Served)
	for range 20 {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /cred")
	}
	var expires time.Time
	s.Check(t, &expires)
	begin := time.Now()
	s.Signal(t, syscall.SIGTERM)
	time.Sleep(20 * time.Millisecond) // otherwise the kernel may merge the two signals
	// The process may have ended already.
	if err := s.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	if err := s.End(); err != nil {
		t.Errorf("exit: %v", err)
	}
	if took := time.Since(begin); took > clitest.AnswerTimeout {
		t.Errorf("took %v", took)
	}
	if left, _ := filepath.Glob(s.Path("holdfast/*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if strings.Contains(s.Log.String(), "level=ERROR") {
		t.Errorf("log:\n%s", s.Log)
	}
}

// Secrets are never printed or logged.
func TestServeLogsNoSecret(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		s := clitest.NewSite(t, time.Hour, "--debug", "--log-format", format)
		clitest.WaitReady(t, s.Served)
		_, answer := clitest.Ask(t, "GET", s.URL+"/credentials", "Authorization", s.TokenValue())
		var doc struct{ AccessKeyId, SecretAccessKey, Token string }
		if err := json.Unmarshal([]byte(answer), &doc); err != nil {
			t.Fatal(err)
		}
		_, session := clitest.Ask(t, "PUT", s.URL+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
		clitest.Ask(t, "GET", s.URL+"/latest/meta-data/iam/security-credentials/demo", "X-aws-ec2-metadata-token", session)
		clitest.Ask(t, "GET", s.URL+"/latest/meta-data/iam/security-credentials/demo", "X-aws-ec2-metadata-token", session+"x")
		clitest.Ask(t, "GET", s.URL+"/credentials", "Authorization", s.TokenValue()+"x")
		_, status := clitest.Ask(t, "GET", s.Status+"/readyz")
		_, metrics := clitest.Ask(t, "GET", s.Status+"/metrics")
		s.Signal(t, syscall.SIGHUP)
		clitest.Eventually(t, "a reload", func() bool { return clitest.Metric(t, s.Served, `holdfast_reloads_total{role="demo"}`) == "1" })
		token := s.TokenValue()
		s.Signal(t, syscall.SIGTERM)
		s.End()
		output := s.Out.String() + s.Log.String() + status + metrics
		for name, secret := range map[string]string{"secret key": doc.SecretAccessKey, "session token": doc.Token, "token": token, "metadata token": session} {
			if len(secret) < 20 || strings.Contains(output, secret) {
				t.Errorf("%s: the %s, of %d bytes, is in the output or too short", format, name, len(secret))
			}
		}
		if !strings.Contains(s.Log.String(), doc.AccessKeyId) {
			t.Errorf("%s: the log does not name the credentials:\n%s", format, s.Log)
		}
	}
}

// Each request is counted once, by its endpoint and status code.
func TestServeCounts(t *testing.T) {
	t.Parallel()
	s := clitest.NewSite(t, time.Hour)
	clitest.WaitReady(t, s.Served)
	clitest.Ask(t, "GET", s.URL+"/credentials", "Authorization", s.TokenValue())
	clitest.Ask(t, "GET", s.URL+"/roles/demo/credentials", "Authorization", s.TokenValue())
	clitest.Ask(t, "GET", s.URL+"/credentials")
	clitest.Ask(t, "PUT", s.URL+"/latest/api/token")
	clitest.Ask(t, "GET", s.URL+"/latest/meta-data/iam/security-credentials/demo")
	clitest.Ask(t, "GET", s.URL+"/latest/meta-data/instance-id")
	clitest.Ask(t, "GET", s.URL+"/roles/other/credentials")
	clitest.Ask(t, "GET", s.URL+"/credentials", "Origin", "http://evil.example")
	clitest.Ask(t, "GET", s.URL+"/nothing")
	for labels, want := range map[string]string{
		`endpoint="container",code="200"`: "2", `endpoint="container",code="401"`: "1", `endpoint="container",code="403"`: "1",
		`endpoint="container",code="404"`: "1", `endpoint="token",code="400"`: "1", `endpoint="imds-credentials",code="401"`: "1",
		`endpoint="imds",code="401"`: "1", `endpoint="other",code="404"`: "1",
	} {
		if got := clitest.Metric(t, s.Served, "holdfast_requests_total{"+labels+"}"); got != want {
			t.Errorf("%s: %q, want %s", labels, got, want)
		}
	}
	if resp, _ := clitest.Ask(t, "POST", s.Status+"/metrics"); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", resp.StatusCode)
	}
	_, text := clitest.Ask(t, "GET", s.Status+"/metrics")
	help := make(map[string]bool)
	for line := range strings.Lines(text) { // the TYPE line precedes the values
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " ")
		if strings.HasPrefix(line, "# TYPE ") {
			if help[name] {
				t.Errorf("%s has two TYPE lines", name)
			}
			help[name] = true
		}
		if name, _, _ := strings.Cut(name, "{"); !strings.HasPrefix(line, "#") && !help[name] {
			t.Errorf("no type: %s", line)
		}
	}
	if len(help) < 12 {
		t.Errorf("%d metrics", len(help))
	}
}
