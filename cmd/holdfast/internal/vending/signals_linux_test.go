package vending_test

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A signal ends the process at once if the key is in a file without a password. Otherwise
// it ends the session, and the command says so.
func TestCredentialProcessSignals(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	if err := os.WriteFile(s.Path("password"), []byte("a password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(signertest.Require(t, "openssl", "openssl"), "pkcs8", "-topk8", "-in", s.Path("key.pem"),
		"-passout", "file:"+s.Path("password"), "-out", s.Path("encrypted.pem")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	asked, done := make(chan struct{}, 1), make(chan struct{})
	t.Cleanup(func() { close(done) })
	s.Up.Break(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-done:
		}
	})
	for _, test := range []struct {
		name, key string
		flags     []string
		signal    syscall.Signal // -1: none ends the process
		message   string
	}{
		{"file", "key.pem", nil, syscall.SIGTERM, ""},
		{"file with a password", "encrypted.pem", []string{"--pin-source", "file:" + s.Path("password")}, -1, "interrupted; run the command again"},
	} {
		cmd, stdout, stderr := execCommand(t, append(append([]string{"credential-process", "--certificate", s.Path("cert.pem"), "--private-key", s.Path(test.key)}, test.flags...), s.Up.Args...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-asked
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		ended := syscall.Signal(-1)
		if status.Signaled() {
			ended = status.Signal()
		}
		if ended != test.signal || stdout.Len() > 0 || (test.message == "") != (stderr.Len() == 0) || !strings.Contains(stderr.String(), test.message) {
			t.Errorf("%s: ended by signal %d with exit code %d, want signal %d: %s", test.name, ended, status.ExitStatus(), test.signal, stderr)
		}
	}
}
