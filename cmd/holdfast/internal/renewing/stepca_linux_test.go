package renewing_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca/stepcatest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// fails runs a command that must fail, and returns its standard error.
func fails(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := clitest.PlainCommand(t, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if out, err := cmd.Output(); err == nil || len(out) > 0 {
		t.Errorf("holdfast %q: %v: %s", args, err, out)
	}
	return stderr.String()
}

// The first certificate comes from step-ca by a one-time token, the next ones by the
// key.
func TestStepCA(t *testing.T) {
	t.Parallel()
	server := stepcatest.Start(t, time.Hour)
	dir := t.TempDir()
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("root.pem", signertest.CertPEM(server.Root.Cert))
	write("token", []byte(server.Token(t, stepcatest.Provisioner, "app")+"\n"))
	run(t, dir, "generate", "--private-key", "key.pem")
	run(t, dir, "csr", "--private-key", "key.pem", "--subject", "CN=app", "--dns", "app", "--out", "app.csr")
	ca := []string{"--way", "step-ca", "--ca-url", server.URL, "--ca-roots", "root.pem"}
	enroll := append([]string{"enroll", "--csr", "app.csr", "--token-source", "file:token", "--out", "cert.pem"}, ca...)
	run(t, dir, enroll...)
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	if stderr := fails(t, dir, enroll...); strings.Contains(stderr, strings.TrimSpace(string(token))) || !strings.Contains(stderr, "\nhint: ") {
		t.Errorf("a token that was used: %s", stderr)
	}
	renew := append([]string{"renew", "--certificate", "cert.pem", "--private-key", "key.pem"}, ca...)
	for range 3 {
		before := serialOf(t, filepath.Join(dir, "cert.pem"))
		if out := run(t, dir, renew...); !strings.HasPrefix(out, "renewed      CN=app\n") {
			t.Error(out)
		}
		if after := serialOf(t, filepath.Join(dir, "cert.pem")); after == before {
			t.Error("the certificate is the old one")
		}
	}
	if out := run(t, dir, append(renew, "--if-due")...); !strings.HasPrefix(out, "certificate  CN=app\n") {
		t.Error(out)
	}
	run(t, dir, "verify", "--certificate", "cert.pem", "--private-key", "key.pem", "--trust-anchor", "root.pem")
	server.Stop()
	before := serialOf(t, filepath.Join(dir, "cert.pem"))
	if stderr := fails(t, dir, renew...); !strings.Contains(stderr, "connection refused") {
		t.Error(stderr)
	}
	if serialOf(t, filepath.Join(dir, "cert.pem")) != before {
		t.Error("the certificate has changed")
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--way", "step-ca", "--ca-roots", "root.pem"}, "needs ca_url"},
		{[]string{"--way", "step-ca", "--ca-url", server.URL}, "needs ca_roots"},
		{[]string{"--way", "step-ca", "--ca-url", "http://ca.example.com", "--ca-roots", "root.pem"}, "https"},
		{[]string{"--way", "step-ca", "--ca-url", server.URL, "--ca-roots", "none.pem"}, "none.pem"},
		{[]string{"--way", "step-ca", "--ca-url", server.URL, "--ca-roots", "app.csr"}, "app.csr"},
	} {
		if stderr := fails(t, dir, append([]string{"renew", "--certificate", "cert.pem", "--private-key", "key.pem"}, c.args...)...); !strings.Contains(stderr, c.want) {
			t.Errorf("%q: %s", c.args, stderr)
		}
	}
}
