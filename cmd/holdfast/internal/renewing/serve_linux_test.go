package renewing_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := clitest.PlainCommand(t, args...)
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
	return fmt.Sprintf("%x", leafOf(t, file).SerialNumber.Bytes())
}

func leafOf(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(decode(t, string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A machine is a key whose certificate serve renews.
type machine struct {
	key         string // the reference
	certificate string // the reference
	anchor      string // the file of the trust anchor
	renew       string // the table [role.renew]
}

// writeRole writes a configuration file for cert.pem and key.pem and an emulator with
// a URL.
func writeRole(t *testing.T, dir, url, renew string) {
	t.Helper()
	writeRoleOf(t, dir, url, machine{key: "key.pem", certificate: "cert.pem", renew: renew})
}

// writeRoleOf writes a configuration file for the machine. Its PIN is in the file pin, if
// there is one.
func writeRoleOf(t *testing.T, dir, url string, m machine) {
	t.Helper()
	pin := ""
	if _, err := os.Stat(filepath.Join(dir, "pin")); err == nil {
		pin = "pin_source = \"file:pin\"\n"
	}
	config := fmt.Sprintf(`[[role]]
name = "app"
certificate = %q
private_key = %q
trust_anchor_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
profile_arn = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"
role_arn = "arn:aws:iam::111122223333:role/demo"
endpoint = %q
%s
[role.renew]
%s`, m.certificate, m.key, url, pin, m.renew)
	if err := os.WriteFile(filepath.Join(dir, "roles.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// update renews the certificate of a role, and writes credentials of a session with
// the new one to the credentials file.
func TestUpdate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newCA(t, dir)
	url, _, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "ca/ca.pem", "--events", "events.jsonl", "--session-lifetime", "3s")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	script(t, dir, "get", "echo x >> asked; exec holdfast ca issue --csr - --accept-csr-names --lifetime 8s")
	writeRole(t, dir, url, "way = \"command\"\ncommand = [\"./get\"]\n")
	cmd := exec.Command("holdfast", "update", "--config", "roles.toml", "--profile", "app")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(dir, "credentials"))
	log := new(clitest.LockedBuffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil || t.Failed() {
			t.Errorf("%v: %s", err, log)
		}
	}()
	first := serialOf(t, filepath.Join(dir, "cert.pem"))
	count := func() int { return strings.Count(log.String(), "the certificate was renewed") }
	clitest.Eventually(t, "two renewals", func() bool { return count() >= 2 })
	// A session that was not needed to examine the certificate is one of its use. Its
	// credentials are those in the file.
	clitest.Eventually(t, "credentials by a new certificate", func() bool {
		data, _ := os.ReadFile(filepath.Join(dir, "credentials"))
		sessions := make(map[string]int)
		for _, e := range eventsOf(t, dir, "CreateSession") {
			serial := e.RequestParameters.SerialNumber
			if sessions[serial]++; serial != first && sessions[serial] > 1 && len(e.ResponseElements.CredentialSet) > 0 && strings.Contains(string(data), "= "+e.ResponseElements.CredentialSet[0].Credentials.AccessKeyID) {
				return true
			}
		}
		return false
	})
	// One more can be on its way, and a machine that is too slow begins with a renewal.
	most := count() + strings.Count(log.String(), "was not renewed") + 2
	if asked := len(fields(dir, "asked")); asked > most {
		t.Errorf("%d requests, want at most %d", asked, most)
	}
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
	t.Parallel()
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
	if err := clitest.WriteProgram(filepath.Join(dir, "get"), []byte(script)); err != nil {
		t.Fatal(err)
	}
	writeRole(t, dir, url, fmt.Sprintf("way = \"command\"\ncommand = [\"./get\"]\ndeploy_command = [\"touch\", %q]\n", filepath.Join(dir, "deployed")))
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
