package renewing_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca/stepcatest"
)

// awaitEnd waits until the certificate in the file has expired, also for a CA that
// counts whole seconds.
func awaitEnd(t *testing.T, file string) {
	t.Helper()
	end := leafOf(t, file).NotAfter.Add(time.Second)
	clitest.Eventually(t, "the end of the certificate", func() bool { return time.Now().After(end) })
}

func has(log *clitest.LockedBuffer, texts ...string) func() bool {
	return func() bool {
		for line := range strings.Lines(log.String()) {
			found := 0
			for _, text := range texts {
				if strings.Contains(line, text) {
					found++
				}
			}
			if found == len(texts) {
				return true
			}
		}
		return false
	}
}

// An outage of step-ca until after the end of the certificate. Where step-ca renews
// such a certificate, the machine recovers. Otherwise the way out is told, and the
// machine goes on with a certificate that a new token brings.
func TestOutageOfStepCA(t *testing.T) {
	t.Parallel()
	for _, provisioner := range []string{stepcatest.AfterExpiry, stepcatest.Provisioner} {
		t.Run(provisioner, func(t *testing.T) {
			t.Parallel()
			server := stepcatest.Start(t, 20*time.Second)
			g := newGate(t, server.URL)
			dir := t.TempDir()
			enroll(t, dir, server, provisioner, g)
			way := []string{"--way", "step-ca", "--ca-url", g.url(), "--ca-roots", "root.pem"}
			once := append(append([]string{"renew"}, pair...), way...)
			run(t, dir, once...) // its time is written down; step-ca begins the validity a minute earlier
			g.shut.Store(true)
			log := loop(t, dir, way...)
			clitest.Eventually(t, "an alarm", has(log, "the certificate is overdue and was not renewed", "check the network, the URL of the CA"))
			awaitEnd(t, filepath.Join(dir, "cert.pem"))
			g.shut.Store(false)
			if provisioner == stepcatest.Provisioner {
				const wayOut = "allowRenewalAfterExpiry; enroll again with a one-time token; an administrator of the CA can print one with: step ca token NAME"
				clitest.Eventually(t, "the way out", has(log, "the certificate is overdue", "refuses the request", wayOut))
				clitest.Eventually(t, "the end of this try", func() bool {
					stderr := fails(t, dir, once...)
					if strings.Contains(stderr, "another process renews this certificate") {
						return false
					}
					if !strings.HasPrefix(stderr, "holdfast: the renewal of the certificate is overdue; it expired at 20") || !strings.Contains(stderr, wayOut) || strings.Count(stderr, "\n") != 2 {
						t.Error(stderr)
					}
					return true
				})
				if err := os.WriteFile(filepath.Join(dir, "token"), []byte(server.Token(t, provisioner, "app")), 0o600); err != nil {
					t.Fatal(err)
				}
				run(t, dir, "enroll", "--way", "step-ca", "--ca-url", g.url(), "--ca-roots", "root.pem", "--csr", "app.csr", "--token-source", "file:token", "--out", "cert.pem")
			}
			clitest.Eventually(t, "a renewal", has(log, "the certificate was renewed"))
			run(t, dir, append([]string{"verify", "--trust-anchor", "root.pem"}, pair...)...)
			t.Logf("%d tries failed", strings.Count(log.String(), "was not renewed"))
		})
	}
}

// A CA of Holdfast that does not renew expired certificates says so, and the machine
// tells the way out.
func TestExpiredAtTheOwnCA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newPair(t, dir)
	for _, name := range []string{"cert.pem", "cert2.pem"} {
		run(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--lifetime", "1s", "--out", name)
	}
	if err := os.Mkdir(filepath.Join(dir, "requests"), 0o700); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, filepath.Join(dir, "cert2.pem"))
	signed := []string{"renew", "--certificate", "cert.pem", "--private-key", "key.pem", "--way", "command", "--signed", "--", "holdfast", "ca", "issue", "--renew", "-"}
	folder := []string{"renew", "--certificate", "cert2.pem", "--private-key", "key.pem", "--way", "folder", "--trust-anchor", "ca/ca.pem", "--requests", "requests"}
	answer := []string{"ca", "issue", "--renew-folder", "requests"}
	wayOut := func(name, stderr string) {
		t.Helper()
		t.Logf("%s: %s", name, stderr)
		for _, want := range []string{"holdfast: the renewal of the certificate is overdue; it expired at 20", `the CA refuses to renew the certificate: `, `the certificate of "CN=app" expired at 20`, "\nhint: the certificate has expired: let the CA renew it, as holdfast ca issue does with --allow-expired, or let it issue a new one\n"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: %s lacks %q", name, stderr, want)
			}
		}
	}
	wayOut("signed", fails(t, dir, signed...))
	fails(t, dir, folder...)
	cmd := clitest.PlainCommand(t, answer...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), `refused requests/`) || !strings.Contains(string(out), "expired at 20") {
		t.Errorf("%v: %s", err, out)
	}
	wayOut("folder", fails(t, dir, folder...))
	// The way out.
	run(t, dir, append(signed, "--allow-expired", "30d", "--lifetime", "90d")...)
	fails(t, dir, folder...)
	run(t, dir, append(answer, "--allow-expired", "30d", "--lifetime", "90d")...)
	run(t, dir, folder...)
	for _, name := range []string{"cert.pem", "cert2.pem"} {
		run(t, dir, "verify", "--trust-anchor", "ca/ca.pem", "--certificate", name, "--private-key", "key.pem")
	}
}
