//go:build linux && cgo

package renewing_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/pki/renew/stepca/stepcatest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// ownCA makes a machine with a key in SoftHSM and the CA of Holdfast.
func ownCA(t *testing.T, dir string) machine {
	signertest.Require(t, "softhsm", "softhsm2-util")
	uri := strings.Replace(pkcs11test.New(t).Token(t), "?", ";object=app?", 1)
	if err := os.WriteFile(filepath.Join(dir, "pin"), []byte(pkcs11test.PIN), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "ca", "init", "--private-key", "ca-key.pem", "--generate", "p256", "--plaintext-key", "--subject", "CN=CA")
	run(t, dir, "generate", "--private-key", uri, "--pin-source", "file:pin")
	run(t, dir, "csr", "--private-key", uri, "--pin-source", "file:pin", "--subject", "CN=app", "--out", "app.csr")
	run(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--lifetime", "10s", "--out", "cert.pem")
	run(t, dir, "install", "--certificate", "cert.pem", "--private-key", uri, "--pin-source", "file:pin")
	script := "#!/bin/sh\nexec holdfast ca issue --csr - --accept-csr-names --lifetime 10s\n"
	if err := clitest.WriteProgram(filepath.Join(dir, "get"), []byte(script)); err != nil {
		t.Fatal(err)
	}
	return machine{uri, uri, "ca/ca.pem", "way = \"command\"\ncommand = [\"./get\"]\n"}
}

// stepCA makes a machine with a key in a TPM and step-ca.
func stepCA(t *testing.T, dir string) machine {
	signertest.Require(t, "swtpm", "swtpm")
	server := stepcatest.Start(t, 10*time.Second)
	key := "tpm:path=key.pem;device=" + tpmtest.Start(t).Path
	for name, data := range map[string][]byte{"root.pem": signertest.CertPEM(server.Root.Cert), "token": []byte(server.Token(t, stepcatest.AfterExpiry, "app"))} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, "generate", "--private-key", key)
	run(t, dir, "csr", "--private-key", key, "--subject", "CN=app", "--dns", "app", "--out", "app.csr")
	run(t, dir, "enroll", "--way", "step-ca", "--ca-url", server.URL, "--ca-roots", "root.pem", "--csr", "app.csr", "--token-source", "file:token", "--out", "cert.pem")
	return machine{key, "cert.pem", "root.pem", fmt.Sprintf("way = \"step-ca\"\nca_url = %q\nca_roots = \"root.pem\"\n", server.URL)}
}

// serve renews the certificate of a key in hardware twice, while 64 clients ask for
// credentials. No answer fails.
func TestServeUnderLoad(t *testing.T) {
	rekeyed := func(newMachine func(*testing.T, string) machine) func(*testing.T, string) machine {
		return func(t *testing.T, dir string) machine {
			m := newMachine(t, dir)
			m.renew += "rekey = true\n"
			return m
		}
	}
	for name, newMachine := range map[string]func(*testing.T, string) machine{
		"SoftHSM and the own CA": ownCA, "SoftHSM and the own CA, new keys": rekeyed(ownCA),
		"swtpm and step-ca": stepCA, "swtpm and step-ca, new keys": rekeyed(stepCA),
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "swtpm") { // SoftHSM reads the environment of this process
				t.Parallel()
			}
			dir := t.TempDir()
			m := newMachine(t, dir)
			url, _, stop, err := clitest.RunEmulator(dir, "--trust-anchor", m.anchor)
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			writeRoleOf(t, dir, url, m)
			s := clitest.StartServe(t, dir, []string{"HOME=" + dir, "SOFTHSM2_CONF=" + os.Getenv("SOFTHSM2_CONF")}, "--config", "roles.toml", "--status-listen", "127.0.0.1:0")
			clitest.WaitReady(t, s)
			var clients sync.WaitGroup
			var answers, failed atomic.Int64
			done := make(chan struct{})
			for range 64 {
				clients.Go(func() {
					for {
						select {
						case <-done:
							return
						case <-time.After(50 * time.Millisecond):
						}
						if status, _, _ := clitest.CredentialsOf(t, s, "/credentials"); status != 200 {
							failed.Add(1)
						}
						answers.Add(1)
					}
				})
			}
			clitest.Eventually(t, "two renewals", func() bool { return strings.Count(s.Log.String(), "the certificate was renewed") >= 2 })
			clitest.Eventually(t, "two reloads", func() bool { return strings.Count(s.Log.String(), "reloaded key and certificate") >= 2 })
			close(done)
			clients.Wait()
			if failed.Load() > 0 || answers.Load() < 64 {
				t.Errorf("%d of %d answers failed", failed.Load(), answers.Load())
			}
			t.Logf("%d answers", answers.Load())
		})
	}
}
