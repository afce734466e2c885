package vending_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/vending"
	"github.com/holdfast-dev/holdfast/keystore/all"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A cacheScene consists of an emulator in the test process, which counts
// sessions, and of a folder with a key and a certificate that the emulator
// trusts.
type cacheScene struct {
	dir      string
	args     []string // of credential-process, without --cache
	env      []string
	sessions atomic.Int64
	before   atomic.Pointer[func(r *http.Request)] // called before each session
}

func newCacheScene(t *testing.T, latency time.Duration) *cacheScene {
	t.Helper()
	s := &cacheScene{dir: t.TempDir()}
	clitest.WriteFiles(t, s.dir, "p256")
	s.serve(t, filepath.Join(s.dir, "ca.pem"), latency)
	s.args = append(s.args, "--certificate", filepath.Join(s.dir, "cert.pem"), "--private-key", filepath.Join(s.dir, "key.pem"))
	return s
}

func (s *cacheScene) serve(t *testing.T, anchor string, latency time.Duration) {
	t.Helper()
	e, err := emulator.New(emulator.Config{
		TrustAnchors: []emulator.TrustAnchor{{CertificateFiles: []string{anchor}}},
		Faults:       emulator.Faults{Latency: latency},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.sessions.Add(1)
		if f := s.before.Load(); f != nil {
			(*f)(r)
		}
		e.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	s.args = []string{
		"credential-process", "--endpoint", server.URL, "--session-duration", "900",
		"--trust-anchor-arn", e.TrustAnchorARNs()[0], "--profile-arn", e.ProfileARNs()[0], "--role-arn", e.RoleARNs()[0],
	}
	s.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "XDG_CACHE_HOME=" + filepath.Join(s.dir, "cache"), "LOCALAPPDATA=" + filepath.Join(s.dir, "cache"), "GORACE=" + clitest.QuickExit}
}

func (s *cacheScene) command(program []string, more ...string) *exec.Cmd {
	line := slices.Concat(program, []string{"holdfast"}, s.args, more)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = s.env
	return cmd
}

// run runs credential-process and reports an error if it fails.
func (s *cacheScene) run(t *testing.T, program []string, more ...string) (stdout, stderr string) {
	t.Helper()
	cmd := s.command(program, more...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || !bytes.HasPrefix(out, []byte(`{"Version":1,`)) {
		t.Errorf("%v, %d bytes\n%s", err, len(out), &errs)
	}
	return string(out), errs.String()
}

// hold starts a process whose request to the service never completes. It
// returns when the process holds the lock and has sent the request.
func (s *cacheScene) hold(t *testing.T, flag string) *exec.Cmd {
	t.Helper()
	arrived, ended := make(chan struct{}), make(chan struct{})
	hang := func(*http.Request) {
		s.before.Store(nil)
		close(arrived)
		<-ended
	}
	s.before.Store(&hang)
	holder := s.command(nil, flag, "--timeout", "5m")
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
		close(ended) // the server does not always notice that a killed client has gone
	})
	select {
	case <-arrived:
	case <-time.After(30 * time.Second):
		t.Fatal("the process sends no request")
	}
	return holder
}

// runGated is like run for a process that waits until all processes are ready.
// So they run concurrently, however long it takes to start them. It reports
// output on standard error as an error.
func (s *cacheScene) runGated(t *testing.T, ready *sync.WaitGroup, more ...string) (stdout string) {
	t.Helper()
	arrive := sync.OnceFunc(ready.Done)
	defer arrive() // otherwise the others wait for a process that failed
	cmd := exec.Command("holdfast-held", slices.Concat(s.args, more)...)
	cmd.Env = s.env
	var errs bytes.Buffer
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Error(err)
		return ""
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Error(err)
		return ""
	}
	if err := cmd.Start(); err != nil {
		t.Error(err)
		return ""
	}
	text := bufio.NewReader(out)
	first, err := text.ReadString('\n')
	arrive()
	ready.Wait()
	in.Close()
	rest, restErr := io.ReadAll(text)
	if err := errors.Join(err, restErr, cmd.Wait()); err != nil || strings.TrimSpace(first) != "ready" || errs.Len() > 0 || !bytes.HasPrefix(rest, []byte(`{"Version":1,`)) {
		t.Errorf("%v, %q, then %d bytes, standard error: %s", err, first, len(rest), &errs)
	}
	return string(rest)
}

// If many processes start at the same time, one session is created, and all
// processes print its credentials.
func TestCacheMakesOneSession(t *testing.T) {
	for _, flag := range clitest.Caches(t) {
		t.Run(flag, func(t *testing.T) {
			s := newCacheScene(t, 300*time.Millisecond)
			const processes = 50
			outs := make([]string, processes)
			var ready, done sync.WaitGroup
			ready.Add(processes)
			for i := range outs {
				done.Go(func() { outs[i] = s.runGated(t, &ready, flag, "--timeout", "5m") })
			}
			done.Wait()
			if n := s.sessions.Load(); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
			if slices.Sort(outs); outs[0] != outs[processes-1] {
				t.Error("not all processes print the same")
			}
		})
	}
}

// If a process is killed while it holds the lock, waiting processes continue.
func TestCacheAfterKill(t *testing.T) {
	for _, flag := range clitest.Caches(t) {
		t.Run(flag, func(t *testing.T) {
			s := newCacheScene(t, 0)
			holder := s.hold(t, flag)
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() { s.run(t, nil, flag) })
			}
			if err := holder.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			if n := s.sessions.Load(); n != 2 {
				t.Errorf("%d sessions, want 2", n)
			}
		})
	}
}

// A cache hit uses no token, PKCS #11 module, TPM or PIN.
func TestCacheHitOpensNothing(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	for _, id := range append(clitest.TokenIdentities(t, ca), clitest.TPMIdentities(t, ca)...) {
		t.Run(id.Name, func(t *testing.T) {
			s := &cacheScene{dir: id.Dir}
			s.serve(t, filepath.Join(id.Dir, "ca.pem"), 0)
			s.args = append(s.args, id.Flags...)
			s.env = append(s.env, id.Env...)
			first, stderr := s.run(t, nil, "--cache")
			if stderr != "" {
				t.Errorf("standard error: %s", stderr)
			}
			for _, name := range []string{"pin", "key.pem"} {
				if err := os.Remove(filepath.Join(id.Dir, name)); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			}
			s.env = append(s.env, "SOFTHSM2_CONF=/nonexistent", "TPM_DEVICE=/nonexistent")
			if out, _ := s.command(nil).Output(); len(out) > 0 {
				t.Error("the device is still available without the cache")
			}
			second, stderr := s.run(t, nil, "--cache")
			if second != first || stderr != "" || s.sessions.Load() != 1 {
				t.Errorf("%d sessions, same credentials: %t, standard error: %s", s.sessions.Load(), first == second, stderr)
			}
			if runtime.GOOS != "linux" {
				return
			}
			strace := signertest.Require(t, "strace", "strace")
			trace := filepath.Join(id.Dir, "trace")
			s.run(t, []string{strace, "-f", "-qq", "-e", "trace=openat,connect", "-o", trace}, "--cache")
			text, err := os.ReadFile(trace)
			if err != nil {
				t.Fatal(err)
			}
			for _, no := range []string{".so\"", "tpm", "softhsm", "key.pem", "connect("} {
				if strings.Contains(strings.ReplaceAll(string(text), id.Dir, ""), no) {
					t.Errorf("a cache hit opens %s:\n%s", no, text)
				}
			}
		})
	}
}

// A reference denotes different keys in different PKCS #11 modules, so they
// have separate cache entries.
func TestCacheKeepsModulesApart(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	identities := clitest.TokenIdentities(t, ca)
	if len(identities) == 0 {
		t.Skip("PKCS #11 requires cgo")
	}
	id := identities[0]
	ref, module, ok := strings.Cut(id.Flags[1], "?module-path=")
	if !ok || strings.Contains(module, "&") {
		t.Fatalf("reference %s", id.Flags[1])
	}
	s := &cacheScene{dir: id.Dir}
	s.serve(t, filepath.Join(id.Dir, "ca.pem"), 0)
	s.args = append(append(s.args, "--cache", "--certificate", ref), id.Flags[2:]...)
	s.env = append(s.env, id.Env...)
	s.run(t, nil, "--pkcs11-lib", module)
	s.run(t, nil, "--pkcs11-lib", module)
	if n := s.sessions.Load(); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
	if out, err := s.command(nil, "--pkcs11-lib", "/nonexistent.so").Output(); err == nil {
		t.Errorf("with another module, the command succeeds and prints %d bytes", len(out))
	}
}

// Cached credentials are not used after the certificate has expired, even if
// the session is still valid.
func TestCacheEndsWithCertificate(t *testing.T) {
	dir := t.TempDir()
	ca := signertest.NewCA(t, "root")
	key := signertest.Key(t, "p256")
	leaf := ca.Issue(t, key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(10 * time.Minute) })
	for name, data := range map[string][]byte{
		"ca.pem": signertest.CertPEM(ca.Cert), "cert.pem": signertest.CertPEM(leaf), "key.pem": signertest.KeyPEM(t, key),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &cacheScene{dir: dir}
	s.serve(t, filepath.Join(dir, "ca.pem"), 0)
	s.args = append(s.args, "--certificate", filepath.Join(dir, "cert.pem"), "--private-key", filepath.Join(dir, "key.pem"), "--cache")
	var offset time.Duration
	do := func() (code int, out string) {
		var stdout, stderr bytes.Buffer
		a := front.App{Stdout: &stdout, Stderr: &stderr, OpenTTY: front.OpenTTY, Store: all.New(),
			Commands: []front.Command{{Name: "credential-process", New: vending.CredentialProcess}},
			Now:      func() time.Time { return time.Now().Add(offset) },
			LookupEnv: func(name string) (string, bool) {
				if name != "XDG_CACHE_HOME" && name != "LocalAppData" {
					return "", false
				}
				return filepath.Join(dir, "cache"), true
			}}
		code = a.Run(t.Context(), s.args)
		return code, stdout.String()
	}
	code, first := do()
	if code != 0 {
		t.Fatalf("exit code %d", code)
	}
	offset = 9 * time.Minute
	if code, out := do(); code != 0 || out != first {
		t.Errorf("before the expiry: exit code %d, same credentials: %t", code, out == first)
	}
	offset = 11 * time.Minute
	if code, out := do(); code != front.ExitOther || out != "" {
		t.Errorf("after the expiry: exit code %d, %d bytes", code, len(out))
	}
	if n := s.sessions.Load(); n != 1 {
		t.Errorf("%d sessions", n)
	}
}
