package renewing_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca/stepcatest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// renewals is how often a certificate is renewed in a row: a year in a minute.
func renewals() int {
	if os.Getenv("HOLDFAST_SOAK") != "" {
		return 100
	}
	return 8
}

// year renews the certificate of a machine that lives for seconds, until it was
// renewed often enough. It returns how many renewals the log has.
func year(t *testing.T, dir string, args ...string) (logged int) {
	t.Helper()
	cmd := exec.Command("holdfast", append([]string{"renew", "--loop", "--certificate", "cert.pem", "--private-key", "key.pem"}, args...)...)
	cmd.Dir = dir
	log := new(clitest.LockedBuffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	count := func() int { return strings.Count(log.String(), "the certificate was renewed") }
	limit := time.After(5 * time.Minute)
	for count() < renewals() {
		select {
		case err := <-done:
			t.Fatalf("it ended: %v: %s", err, log)
		case <-limit:
			t.Fatalf("%d renewals: %s", count(), log)
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("%v: %s", err, log)
	}
	if text := log.String(); strings.Contains(text, "was not renewed") {
		t.Errorf("renewals failed: %s", text)
	}
	return count()
}

// A certificate of the own CA, by a program.
func TestYearWithCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run(t, dir, "ca", "init", "--private-key", "ca-key.pem", "--generate", "p256", "--plaintext-key", "--subject", "CN=CA")
	run(t, dir, "generate", "--private-key", "key.pem")
	run(t, dir, "csr", "--private-key", "key.pem", "--subject", "CN=app", "--out", "app.csr")
	run(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--lifetime", "5s", "--out", "cert.pem")
	n := year(t, dir, "--way", "command", "--", "holdfast", "ca", "issue", "--csr", "-", "--accept-csr-names", "--lifetime", "5s")
	// Each certificate was asked for once, and is in use, except one that the
	// end of the program interrupted.
	if issued := strings.Count(run(t, dir, "ca", "list", "--json"), `"serial"`) - 1; issued < n || issued > n+1 {
		t.Errorf("%d certificates for %d renewals", issued, n)
	}
	run(t, dir, "ca", "check")
}

// A certificate of step-ca.
// Where the CA allows it, a machine that is too slow renews it after its end, too.
func TestYearWithStepCA(t *testing.T) {
	t.Parallel()
	server := stepcatest.Start(t, 5*time.Second)
	dir := t.TempDir()
	for name, data := range map[string][]byte{"root.pem": signertest.CertPEM(server.Root.Cert), "token": []byte(server.Token(t, stepcatest.AfterExpiry, "app"))} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "generate", "--private-key", "key.pem")
	run(t, dir, "csr", "--private-key", "key.pem", "--subject", "CN=app", "--dns", "app", "--out", "app.csr")
	ca := []string{"--way", "step-ca", "--ca-url", server.URL, "--ca-roots", "root.pem"}
	run(t, dir, append([]string{"enroll", "--csr", "app.csr", "--token-source", "file:token", "--out", "cert.pem"}, ca...)...)
	first := serialOf(t, filepath.Join(dir, "cert.pem"))
	year(t, dir, ca...)
	if serialOf(t, filepath.Join(dir, "cert.pem")) == first {
		t.Error("the certificate is the first one")
	}
}
