//go:build unix

package vending_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/internal/exectest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The emulator gives credentials for keys behind the examples of docs/exec.md and behind
// the program of the tests, which also has the certificates.
func TestCredentialProcessWithProgram(t *testing.T) {
	own, err := exec.LookPath(exectest.Name)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"p256", "p384", "rsa2048"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			clitest.WriteFiles(t, dir, kind)
			for _, name := range []string{"signer.py", "signer.sh"} {
				text, err := os.ReadFile(filepath.Join("../../../../examples/exec", name))
				if err == nil {
					err = clitest.WriteProgram(filepath.Join(dir, name), text)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			both := filepath.Join(dir, "both.pem")
			var all []byte
			for _, name := range []string{"key.pem", "cert.pem"} {
				data, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, data...)
			}
			if err := os.WriteFile(both, all, 0o600); err != nil {
				t.Fatal(err)
			}
			_, flags, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "ca.pem")
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			run := func(t *testing.T, args ...string) {
				t.Helper()
				cmd := exec.Command("holdfast", append(append([]string{"credential-process"}, args...), strings.Fields(flags)...)...)
				cmd.Dir = dir
				var stderr strings.Builder
				cmd.Stderr = &stderr
				if out, err := cmd.Output(); err != nil || !strings.Contains(string(out), `"AccessKeyId":"ASIA`) || stderr.String() != "" {
					t.Errorf("%v: %s%s", err, out, &stderr)
				}
			}
			t.Run("signer.py", func(t *testing.T) {
				if out, err := exec.Command("/usr/bin/python3", "-c", "import cryptography").CombinedOutput(); err != nil {
					t.Log(string(out))
					signertest.Skip(t, "cryptography", err)
				}
				run(t, "--certificate", "cert.pem", "--private-key", "exec:program=./signer.py;key=key.pem")
			})
			t.Run("signer.sh", func(t *testing.T) {
				signertest.Require(t, "openssl", "openssl")
				signertest.Require(t, "jq", "jq")
				run(t, "--certificate", "cert.pem", "--private-key", "exec:program=./signer.sh;key=key.pem")
			})
			t.Run("digests", func(t *testing.T) {
				run(t, "--certificate", "exec:program="+own+";key=both.pem")
			})
			t.Run("messages", func(t *testing.T) {
				run(t, "--private-key", "exec:program="+own+";key=message:both.pem")
			})
			t.Run("configuration", func(t *testing.T) { // relative to its folder
				config := "[[role]]\nname = 'app'\nprivate_key = 'exec:program=./signer.sh;key=" + filepath.Join(dir, "key.pem") + "'\ncertificate = 'cert.pem'\n"
				sub := filepath.Join(dir, "sub")
				if err := os.Mkdir(sub, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "roles.toml"), []byte(config), 0o600); err != nil {
					t.Fatal(err)
				}
				signertest.Require(t, "jq", "jq")
				cmd := exec.Command("holdfast", append(append([]string{"exec", "--env", "--config", "../roles.toml"}, strings.Fields(flags)...), "--", "env")...)
				cmd.Dir = sub
				if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "AWS_ACCESS_KEY_ID=ASIA") {
					t.Errorf("%v: %s", err, out)
				}
			})
		})
	}
}
