package local_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// browserWait is the limit of time for one start of the browser.
const browserWait = 3 * time.Minute

// In a browser, the page of the emulator shows what happened, and then what happens
// later without being loaded again. It says when the emulator is not there.
func TestPageInBrowser(t *testing.T) {
	chromium := signertest.Require(t, "chromium", "chromium")
	dir := t.TempDir()
	clitest.WriteFiles(t, dir, "p256")
	stranger := signertest.NewCA(t, "stranger").Issue(t, signertest.Key(t, "p256"), nil)
	if err := os.WriteFile(dir+"/stranger.pem", signertest.CertPEM(stranger), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		// before is called before the emulator gets the nth request for an update. If
		// it returns false, the emulator does not get it.
		before      func(n int64, emulator string, stop func()) bool
		want, state string
	}{
		{
			"changes", func(n int64, emulator string, _ func()) bool {
				if n == 1 {
					clitest.Ask(t, "GET", emulator+"/later")
				}
				return true
			}, "No such operation: GET /later", "Live",
		},
		{
			"stops", func(n int64, _ string, stop func()) bool {
				if n == 2 {
					stop()
				}
				return true
			}, "", "Not connected",
		},
		{
			"is there again", func(n int64, emulator string, _ func()) bool {
				if n == 5 {
					clitest.Ask(t, "GET", emulator+"/again")
				}
				return n >= 5 // the browser itself repeats a request once
			}, "No such operation: GET /again", "Live",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			emulator, flags, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "intermediate.pem", "--ui")
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			for _, certificate := range []string{"cert.pem", "stranger.pem"} {
				cmd := exec.Command("holdfast", append([]string{"credential-process", "--certificate", certificate, "--private-key", "key.pem"}, strings.Fields(flags)...)...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); (err == nil) != (certificate == "cert.pem") {
					t.Fatalf("%s: %v\n%s", certificate, err, out)
				}
			}
			target, err := url.Parse(emulator)
			if err != nil {
				t.Fatal(err)
			}
			proxy := &httputil.ReverseProxy{
				Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
				ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
			}
			var updates atomic.Int64
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/ui/data" && !test.before(updates.Add(1), emulator, stop) {
					panic(http.ErrAbortHandler)
				}
				proxy.ServeHTTP(w, r)
			}))
			defer front.Close()
			dom := dump(t, chromium, front.URL+"/ui")
			if updates.Load() < 2 {
				t.Errorf("%d updates, want more", updates.Load())
			}
			for _, want := range []string{
				test.want, "Untrusted signing certificate (x509: ", "assumed-role/demo/", "trust anchor 1", "role/demo", "CreateSession",
			} {
				if !strings.Contains(dom, want) {
					t.Errorf("the page lacks %q:\n%s", want, dom)
				}
			}
			if !regexp.MustCompile(`id="state"[^>]*>` + test.state).MatchString(dom) {
				t.Errorf("the page does not say %q:\n%s", test.state, dom)
			}
		})
	}
}

// dump returns the document of a page after ten seconds of the browser's own clock,
// which stands still while the browser waits for a response.
func dump(t *testing.T, chromium, page string) string {
	t.Helper()
	// Not t.TempDir, because processes of the browser may write a little longer.
	profile, err := os.MkdirTemp("", "holdfast-test-*")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(profile)
	ctx, cancel := context.WithTimeout(t.Context(), browserWait)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--user-data-dir="+profile, "--virtual-time-budget=10000", "--dump-dom", page)
	cmd.Env = append(os.Environ(), "HOME="+profile, "XDG_CONFIG_HOME="+profile, "XDG_CACHE_HOME="+profile)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what it may have left
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", chromium, err, stderr.Bytes())
	}
	return stdout.String()
}
