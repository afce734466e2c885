package clitest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Served is a process of holdfast serve.
type Served struct {
	*exec.Cmd
	URL    string // of its endpoints
	Status string // of /healthz and so on; "": none
	Token  string // the file
	Out    *LockedBuffer
	Log    *LockedBuffer
	Done   chan error // gets what the process ended with

	t testing.TB
}

// A LockedBuffer is safe for concurrent use.
type LockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements [io.Writer].
func (l *LockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns what was written so far.
func (l *LockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// StartServe runs holdfast serve in dir until the test ends. env is added to
// its environment.
func StartServe(t testing.TB, dir string, env []string, args ...string) *Served {
	t.Helper()
	return StartProgram(t, "holdfast", dir, env, append([]string{"serve", "--port", "0"}, args...)...)
}

// StartProgram is StartServe for a program that prints the same.
func StartProgram(t testing.TB, program, dir string, env []string, args ...string) *Served {
	t.Helper()
	s := &Served{Cmd: exec.Command(program, args...), t: t, Out: new(LockedBuffer), Log: new(LockedBuffer), Done: make(chan error, 1)}
	s.Dir = dir
	s.Env = append([]string{"PATH=" + os.Getenv("PATH"), "GORACE=" + QuickExit, "XDG_RUNTIME_DIR=" + dir, "TMPDIR=" + dir}, env...)
	s.Stderr = s.Log
	out, err := s.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Process.Kill()
		s.End()
		if t.Failed() {
			t.Logf("the log of serve:\n%s", s.Log)
		}
	})
	lines := bufio.NewScanner(io.TeeReader(out, s.Out))
	for lines.Scan() {
		line := lines.Text()
		if u, ok := strings.CutPrefix(line, "# listening on "); ok {
			s.URL = u
		}
		if u, ok := strings.CutPrefix(line, "# status at "); ok {
			first, _, _ := strings.Cut(u, ",") // "/" of serve, /healthz of the agent
			s.Status = strings.TrimRight(strings.TrimSuffix(first, "/healthz"), "/")
		}
		if f, ok := strings.CutPrefix(line, "export AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="); ok {
			s.Token = f
		}
		if strings.Contains(line, "AWS_CONTAINER_CREDENTIALS_FULL_URI") {
			break // all that is told is there
		}
	}
	go func() {
		_, _ = io.Copy(s.Out, out)
		s.Done <- s.Wait()
	}()
	if s.URL == "" {
		t.Fatalf("serve ended: %v\n%s", s.End(), s.Log)
	}
	return s
}

// End waits for the end of the process.
func (s *Served) End() error {
	err := <-s.Done
	s.Done <- err
	return err
}

// TokenValue returns the token of the container endpoint.
func (s *Served) TokenValue() string {
	s.t.Helper()
	b, err := os.ReadFile(s.Token)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// Eventually waits until ok, and fails the test after a while.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// Ask makes one request; the answer's body is read.
func Ask(t testing.TB, method, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// WaitReady waits until every role has credentials.
func WaitReady(t testing.TB, s *Served) {
	t.Helper()
	Eventually(t, "ready", func() bool {
		resp, _ := Ask(t, "GET", s.Status+"/readyz")
		return resp.StatusCode == http.StatusOK
	})
}

// CredentialsOf asks the container endpoint.
func CredentialsOf(t testing.TB, s *Served, path string) (status int, keyID, expiration string) {
	t.Helper()
	resp, body := Ask(t, "GET", s.URL+path, "Authorization", s.TokenValue())
	var doc struct{ AccessKeyId, SecretAccessKey, Token, Expiration string }
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatalf("%v: %q", err, body)
	}
	if resp.StatusCode == http.StatusOK && (doc.AccessKeyId == "" || doc.SecretAccessKey == "" || doc.Token == "" || doc.Expiration == "") {
		t.Errorf("blanks: %q", body)
	}
	return resp.StatusCode, doc.AccessKeyId, doc.Expiration
}

// Metric returns a line's value of /metrics, "" if it is not there.
func Metric(t testing.TB, s *Served, name string) string {
	t.Helper()
	_, body := Ask(t, "GET", s.Status+"/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
