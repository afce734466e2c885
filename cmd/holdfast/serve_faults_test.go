//go:build linux

package main

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

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// While AWS does not answer as it should, what is valid is given out, then
// nothing; and afterwards new credentials.
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
			// Nobody waits as long as a renewal does.
			s := newSite(t, 5*time.Second, "--timeout", (2 * promptly).String())
			waitReady(t, s.served)
			s.up.break_(fault)
			var expires time.Time
			gone := false
			eventually(t, "nothing is left", func() bool {
				gone = s.check(t, &expires) == http.StatusServiceUnavailable
				return gone
			})
			eventually(t, "a renewal fails", func() bool {
				return metric(t, s.served, `holdfast_renewal_failures_total{role="demo"}`) != "0"
			})
			if resp, body := ask(t, "GET", s.status+"/readyz"); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"error"`) {
				t.Errorf("readyz: %d %s", resp.StatusCode, body)
			}
			if resp, _ := ask(t, "GET", s.status+"/healthz"); resp.StatusCode != http.StatusOK {
				t.Errorf("healthz: %d", resp.StatusCode)
			}
			s.up.heal()
			eventually(t, "credentials are back", func() bool { return s.check(t, &expires) == http.StatusOK })
		})
	}
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, 12*time.Second)
		waitReady(t, s.served)
		var expires time.Time
		for range 2 {
			// As slow as the questions are: all of them come while it is under way.
			var begun atomic.Bool
			answered := make(chan struct{})
			answer := sync.OnceFunc(func() { close(answered) })
			t.Cleanup(answer)
			s.up.break_(func(w http.ResponseWriter, r *http.Request) {
				begun.Store(true)
				<-answered
				s.up.server.ServeHTTP(w, r)
			})
			eventually(t, "a renewal begins", begun.Load)
			for range 20 {
				if status := s.check(t, &expires); status != http.StatusOK {
					t.Fatalf("status %d", status)
				}
			}
			old := expires
			answer()
			eventually(t, "new credentials", func() bool {
				return s.check(t, &expires) == http.StatusOK && expires.After(old)
			})
		}
	})
}

// While keys are opened clients are told so, and the end does not wait for a key
// that does not come.
func TestServeWhileKeysAreOpened(t *testing.T) {
	t.Parallel()
	s := newFiles(t, t.TempDir())
	s.up = newUpstream(t, s.ca.Cert, time.Hour)
	key, err := os.ReadFile(s.path("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, comes := range []bool{true, false} {
		port := strconv.Itoa(freePort(t))
		cmd := exec.Command("holdfast", append([]string{"serve", "--port", port, "--certificate", s.path("cert.pem"), "--private-key", "-"}, s.up.args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + quickExit, "XDG_RUNTIME_DIR=" + s.dir}
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var log lockedBuffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill() })
		url := "http://127.0.0.1:" + port + "/credentials"
		eventually(t, "it listens", func() bool {
			c, err := net.Dial("tcp", "127.0.0.1:"+port)
			if err == nil {
				c.Close()
			}
			return err == nil
		})
		if resp, body := ask(t, "GET", url); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, `"Message":"holdfast is still opening`) {
			t.Errorf("status %d, %s", resp.StatusCode, body)
		}
		if comes {
			if _, err := stdin.Write(key); err != nil {
				t.Fatal(err)
			}
			stdin.Close()
			token := filepath.Join(s.dir, "holdfast", "serve-"+port+".token")
			eventually(t, "credentials", func() bool {
				value, err := os.ReadFile(token)
				if err != nil {
					return false
				}
				resp, _ := ask(t, "GET", url, "Authorization", string(value))
				return resp.StatusCode == http.StatusOK
			})
		}
		begin := time.Now()
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); (err == nil) != comes || time.Since(begin) > 30*time.Second {
			t.Errorf("it ended with %v after %v\n%s", err, time.Since(begin), &log)
		}
	}
}

// AWS is down at the start: nothing is given out until it is there.
func TestServeStartsWithoutAWS(t *testing.T) {
	t.Parallel()
	s := newFiles(t, t.TempDir())
	s.up = newUpstream(t, s.ca.Cert, time.Hour)
	s.up.break_(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s.served = startServe(t, s.dir, nil, append([]string{"--certificate", "cert.pem", "--private-key", "key.pem", "--status-listen", "127.0.0.1:0", "--timeout", "1s"}, s.up.args...)...)
	var expires time.Time
	if status := s.check(t, &expires); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	resp, body := ask(t, "PUT", s.url+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("token: status %d", resp.StatusCode)
	}
	resp, body = ask(t, "GET", s.url+"/latest/meta-data/iam/security-credentials/demo", "X-aws-ec2-metadata-token", body)
	if resp.StatusCode != http.StatusServiceUnavailable || !json.Valid([]byte(body)) {
		t.Errorf("metadata service: status %d, %q", resp.StatusCode, body)
	}
	s.up.heal()
	eventually(t, "credentials", func() bool { return s.check(t, &expires) == http.StatusOK })
}

// Whatever happens to the files, the pair that works stays in use until a
// better one is whole.
func TestServeKeepsAGoodPair(t *testing.T) {
	t.Parallel()
	s := newSite(t, 5*time.Second)
	waitReady(t, s.served)
	read := func(name string) []byte {
		b, err := os.ReadFile(s.path(name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	cert, key := read("cert.pem"), read("key.pem")
	other := signertest.NewKey(t, "p256")
	expired := s.ca.Issue(t, signertest.NewKey(t, "p256"), func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	failures := func() int {
		n, err := strconv.Atoi(metric(t, s.served, `holdfast_reload_failures_total{role="demo"}`))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	reloads := func() string { return metric(t, s.served, `holdfast_reloads_total{role="demo"}`) }
	var expires time.Time
	for _, bad := range []struct {
		name string
		do   func()
	}{
		{"certificate removed", func() { os.Remove(s.path("cert.pem")) }},
		{"certificate torn", func() { s.write(t, "cert.pem", cert[:len(cert)/2]) }},
		{"certificate empty", func() { s.write(t, "cert.pem", nil) }},
		{"certificate of another key", func() { s.write(t, "cert.pem", signertest.CertPEM(s.ca.Issue(t, other, nil))) }},
		{"certificate expired", func() { s.write(t, "cert.pem", signertest.CertPEM(expired)) }},
		{"key removed", func() { os.Remove(s.path("key.pem")); s.write(t, "cert.pem", cert) }},
		{"key torn", func() { s.write(t, "key.pem", key[:len(key)/2]) }},
		{"key empty", func() { s.write(t, "key.pem", nil) }},
		{"key is another", func() { s.write(t, "key.pem", signertest.KeyPEM(t, other)) }},
	} {
		bad.do()
		before := failures()
		s.signal(t, syscall.SIGHUP)
		eventually(t, bad.name+" is noticed", func() bool { return failures() > before })
		if n := reloads(); n != "0" {
			t.Fatalf("%s: %s reloads", bad.name, n)
		}
		s.check(t, &expires)
	}
	calls := s.up.sessions.Load()
	eventually(t, "a renewal with the old pair", func() bool {
		s.check(t, &expires)
		return s.up.sessions.Load() > calls
	})
	// From ECDSA to RSA, in two steps, and noticed without a signal.
	s.writePair(t, "rsa2048")
	eventually(t, "the new pair is in use", func() bool { return reloads() != "0" })
	calls = s.up.sessions.Load()
	eventually(t, "a renewal with the new pair", func() bool { return s.up.sessions.Load() > calls+1 })
	if n := metric(t, s.served, `holdfast_renewal_failures_total{role="demo"}`); n != "0" {
		t.Errorf("%s renewals failed", n)
	}
	if events := s.up.events.String(); strings.Contains(events, "algorithmKeyMismatch") || strings.Contains(events, "errorCode") {
		t.Errorf("the service found fault:\n%s", events)
	}
	s.check(t, &expires)
}

// A certificate that expired while serve ran is looked for again before the
// next renewal; nobody has to say so.
func TestServeTakesARenewedCertificate(t *testing.T) {
	t.Parallel()
	s := &site{dir: t.TempDir(), ca: signertest.NewCA(t, "root")}
	s.up = newUpstream(t, s.ca.Cert, 4*time.Second)
	key := signertest.NewKey(t, "p256")
	s.write(t, "key.pem", signertest.KeyPEM(t, key))
	end := time.Now().Add(10 * time.Second) // serve has to be ready before
	s.write(t, "cert.pem", signertest.CertPEM(s.ca.Issue(t, key, func(c *x509.Certificate) { c.NotAfter = end })))
	s.served = startServe(t, s.dir, nil, append([]string{"--certificate", "cert.pem", "--private-key", "key.pem", "--status-listen", "127.0.0.1:0"}, s.up.args...)...)
	waitReady(t, s.served)
	eventually(t, "a renewal fails", func() bool {
		return metric(t, s.served, `holdfast_renewal_failures_total{role="demo"}`) != "0"
	})
	s.write(t, "cert.pem", signertest.CertPEM(s.ca.Issue(t, key, nil)))
	var expires time.Time
	calls := s.up.sessions.Load()
	eventually(t, "a renewal", func() bool { return s.up.sessions.Load() > calls })
	eventually(t, "credentials", func() bool { return s.check(t, &expires) == http.StatusOK })
}

// What is under way is answered after SIGTERM, and the end comes soon though
// others hold connections.
func TestServeDrains(t *testing.T) {
	t.Parallel()
	s := newSite(t, time.Hour)
	waitReady(t, s.served)
	for range 20 {
		c, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /cred")
	}
	var expires time.Time
	s.check(t, &expires)
	begin := time.Now()
	s.signal(t, syscall.SIGTERM)
	time.Sleep(20 * time.Millisecond) // lest the two become one
	// It may be gone already.
	if err := s.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	if err := s.wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	if took := time.Since(begin); took > promptly {
		t.Errorf("took %v", took)
	}
	if left, _ := filepath.Glob(s.path("holdfast/*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if strings.Contains(s.log.String(), "level=ERROR") {
		t.Errorf("log:\n%s", s.log)
	}
}

// No secret is printed or logged, whatever is asked for.
func TestServeTellsNoSecret(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		s := newSite(t, time.Hour, "--debug", "--log-format", format)
		waitReady(t, s.served)
		_, answer := ask(t, "GET", s.url+"/credentials", "Authorization", s.tokenValue())
		var doc struct{ AccessKeyId, SecretAccessKey, Token string }
		if err := json.Unmarshal([]byte(answer), &doc); err != nil {
			t.Fatal(err)
		}
		_, session := ask(t, "PUT", s.url+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
		ask(t, "GET", s.url+"/latest/meta-data/iam/security-credentials/demo", "X-aws-ec2-metadata-token", session)
		ask(t, "GET", s.url+"/latest/meta-data/iam/security-credentials/demo", "X-aws-ec2-metadata-token", session+"x")
		ask(t, "GET", s.url+"/credentials", "Authorization", s.tokenValue()+"x")
		_, status := ask(t, "GET", s.status+"/readyz")
		_, metrics := ask(t, "GET", s.status+"/metrics")
		s.signal(t, syscall.SIGHUP)
		eventually(t, "a reload", func() bool { return metric(t, s.served, `holdfast_reloads_total{role="demo"}`) == "1" })
		token := s.tokenValue()
		s.signal(t, syscall.SIGTERM)
		s.wait()
		told := s.out.String() + s.log.String() + status + metrics
		for name, secret := range map[string]string{"secret key": doc.SecretAccessKey, "session token": doc.Token, "token": token, "metadata token": session} {
			if len(secret) < 20 || strings.Contains(told, secret) {
				t.Errorf("%s: the %s, of %d bytes, is told", format, name, len(secret))
			}
		}
		if !strings.Contains(s.log.String(), doc.AccessKeyId) {
			t.Errorf("%s: the log does not name the credentials:\n%s", format, s.log)
		}
	}
}

// One request is counted once, under what it was and how it ended.
func TestServeCounts(t *testing.T) {
	t.Parallel()
	s := newSite(t, time.Hour)
	waitReady(t, s.served)
	ask(t, "GET", s.url+"/credentials", "Authorization", s.tokenValue())
	ask(t, "GET", s.url+"/roles/demo/credentials", "Authorization", s.tokenValue())
	ask(t, "GET", s.url+"/credentials")
	ask(t, "PUT", s.url+"/latest/api/token")
	ask(t, "GET", s.url+"/latest/meta-data/iam/security-credentials/demo")
	ask(t, "GET", s.url+"/latest/meta-data/instance-id")
	ask(t, "GET", s.url+"/roles/other/credentials")
	ask(t, "GET", s.url+"/credentials", "Origin", "http://evil.example")
	ask(t, "GET", s.url+"/nothing")
	for labels, want := range map[string]string{
		`endpoint="container",code="200"`: "2", `endpoint="container",code="401"`: "1", `endpoint="container",code="403"`: "1",
		`endpoint="container",code="404"`: "1", `endpoint="token",code="400"`: "1", `endpoint="imds-credentials",code="401"`: "1",
		`endpoint="imds",code="401"`: "1", `endpoint="other",code="404"`: "1",
	} {
		if got := metric(t, s.served, "holdfast_requests_total{"+labels+"}"); got != want {
			t.Errorf("%s: %q, want %s", labels, got, want)
		}
	}
	if resp, _ := ask(t, "POST", s.status+"/metrics"); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", resp.StatusCode)
	}
	_, text := ask(t, "GET", s.status+"/metrics")
	help := make(map[string]bool)
	for line := range strings.Lines(text) { // each value stands below its type
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " ")
		if strings.HasPrefix(line, "# TYPE ") {
			if help[name] {
				t.Errorf("%s is there twice", name)
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
