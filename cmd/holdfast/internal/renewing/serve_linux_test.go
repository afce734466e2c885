package renewing_test

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("holdfast", args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("holdfast %q: %v: %s", args, err, &stderr)
	}
	return string(out)
}

func serialOf(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(decode(t, string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return c.SerialNumber.Text(16)
}

// decode returns the first block of PEM text.
func decode(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("not PEM: %s", text)
	}
	return block.Bytes
}

// serve renews the certificate of a role, and gets credentials with the new one.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	run(t, dir, "ca", "init", "--private-key", "ca-key.pem", "--generate", "p256", "--plaintext-key", "--subject", "CN=CA")
	run(t, dir, "generate", "--private-key", "key.pem")
	run(t, dir, "csr", "--private-key", "key.pem", "--subject", "CN=app", "--out", "app.csr")
	run(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--lifetime", "10s", "--out", "cert.pem") // it is due
	first := serialOf(t, filepath.Join(dir, "cert.pem"))
	url, _, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "ca/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	script := "#!/bin/sh\nexec holdfast ca issue --csr - --accept-csr-names --lifetime 8s\n"
	if err := os.WriteFile(filepath.Join(dir, "get"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`[[role]]
name = "app"
certificate = "cert.pem"
private_key = "key.pem"
trust_anchor_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
profile_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"
role_arn = "arn:aws:iam::111122223333:role/demo"
endpoint = %q

[role.renew]
way = "command"
command = ["./get"]
deploy_command = ["touch", %q]
`, url, filepath.Join(dir, "deployed"))
	if err := os.WriteFile(filepath.Join(dir, "roles.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := clitest.StartServe(t, dir, []string{"HOME=" + dir}, "--config", "roles.toml", "--status-listen", "127.0.0.1:0")
	clitest.Eventually(t, "two renewals", func() bool { return strings.Count(s.Log.String(), "the certificate was renewed") >= 2 })
	clitest.WaitReady(t, s)
	if now := serialOf(t, filepath.Join(dir, "cert.pem")); now == first {
		t.Error("the certificate is the first one")
	}
	if _, err := os.Stat(filepath.Join(dir, "deployed")); err != nil {
		t.Error(err)
	}
	if got := clitest.Metric(t, s, `holdfast_certificate_renewal_overdue{role="app"}`); got != "0" {
		t.Errorf("overdue: %s", got)
	}
	if n := strings.Count(run(t, dir, "ca", "list"), "CN=app"); n < 3 || n > 30 {
		t.Errorf("%d certificates", n)
	}
}
