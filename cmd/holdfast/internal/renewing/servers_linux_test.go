package renewing_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew/est/esttest"
	"github.com/holdfast-dev/holdfast/pki/renew/vault/vaulttest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A machine gets its first certificate from a CA with a secret, and the next ones by
// its key.
func testServer(t *testing.T, root *signertest.CA, name, secret, wrong string, stop func(), enrolment, renewal []string) {
	dir := t.TempDir()
	for file, data := range map[string]string{"root.pem": string(signertest.CertPEM(root.Cert)), "token": secret + "\n", "wrong": wrong + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "generate", "--private-key", "key.pem")
	run(t, dir, "csr", "--private-key", "key.pem", "--subject", "CN="+name, "--dns", "app.example.com", "--uri", "spiffe://example.com/app", "--out", "app.csr")
	enroll := append([]string{"enroll", "--csr", "app.csr", "--ca-roots", "root.pem", "--out", "cert.pem"}, enrolment...)
	if stderr := fails(t, dir, append(enroll, "--token-source", "file:wrong")...); strings.Contains(stderr, wrong) || !strings.Contains(stderr, "refuses the request") || !strings.Contains(stderr, "\nhint: ") {
		t.Error(stderr)
	}
	run(t, dir, append(enroll, "--token-source", "file:token")...)
	renew := append([]string{"renew", "--certificate", "cert.pem", "--private-key", "key.pem", "--ca-roots", "root.pem"}, renewal...)
	for range 3 {
		before := serialOf(t, filepath.Join(dir, "cert.pem"))
		if out := run(t, dir, renew...); !strings.HasPrefix(out, "renewed      CN="+name+"\n") {
			t.Error(out)
		}
		if serialOf(t, filepath.Join(dir, "cert.pem")) == before {
			t.Error("the certificate is the old one")
		}
	}
	run(t, dir, "verify", "--certificate", "cert.pem", "--private-key", "key.pem", "--trust-anchor", "root.pem")
	stop()
	before := serialOf(t, filepath.Join(dir, "cert.pem"))
	if stderr := fails(t, dir, renew...); !strings.Contains(stderr, "connection refused") {
		t.Error(stderr)
	}
	if serialOf(t, filepath.Join(dir, "cert.pem")) != before {
		t.Error("the certificate has changed")
	}
}

func TestEST(t *testing.T) {
	t.Parallel()
	server := esttest.Start(t, time.Hour)
	args := []string{"--way", "est", "--ca-url", server.URL, "--ca-label", esttest.Label}
	testServer(t, server.Root, "app", esttest.User+":"+esttest.Password, "app:incorrect", server.Stop, args, args)
}

func TestVault(t *testing.T) {
	t.Parallel()
	server := vaulttest.StartAt(t, time.Hour, "team", "team-pki", "machines")
	enrolment := []string{"--way", "vault", "--ca-url", server.URL, "--ca-role", vaulttest.Role, "--ca-mount", "team-pki", "--ca-namespace", "team"}
	renewal := append(enrolment[:len(enrolment):len(enrolment)], "--ca-login-mount", "machines", "--ca-login-role", vaulttest.Role)
	testServer(t, server.Root, vaulttest.Name, server.Token(), "hvs.incorrect", server.Stop, enrolment, renewal)
}
