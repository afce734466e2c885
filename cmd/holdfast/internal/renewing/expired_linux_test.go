package renewing_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// serve starts with a certificate that has expired while the CA is away. It answers
// without credentials, tells the alarm, and renews the certificate when the CA is back.
func TestServeStartsWithAnExpiredCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newCA(t, dir)
	run(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--lifetime", "1s", "--out", "cert.pem")
	awaitEnd(t, filepath.Join(dir, "cert.pem"))
	url, _, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "ca/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	script(t, dir, "get", "[ -e healthy ] || exit 3; exec holdfast ca issue --csr - --accept-csr-names")
	writeRole(t, dir, url, "way = \"command\"\ncommand = [\"./get\"]\n")
	s := clitest.StartServe(t, dir, []string{"HOME=" + dir}, "--config", "roles.toml", "--status-listen", "127.0.0.1:0")
	if status, _, _ := clitest.CredentialsOf(t, s, "/credentials"); status == 200 {
		t.Error("credentials for an expired certificate")
	}
	clitest.Eventually(t, "the alarm", func() bool {
		return clitest.Metric(t, s, `holdfast_certificate_renewal_overdue{role="app"}`) == "1" && strings.Contains(s.Log.String(), "the certificate is overdue and was not renewed")
	})
	if err := os.WriteFile(filepath.Join(dir, "healthy"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	clitest.WaitReady(t, s)
	if status, _, _ := clitest.CredentialsOf(t, s, "/credentials"); status != 200 {
		t.Errorf("status %d", status)
	}
}
