//go:build unix

package vending_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/sshagenttest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestSSHAgent gets credentials with keys of OpenSSH's agent, from the emulator.
func TestSSHAgent(t *testing.T) {
	agent := sshagenttest.Start(t, "")
	dir := t.TempDir()
	ca := clitest.WriteFiles(t, dir, "p256")
	for _, kind := range []string{"rsa2048", "p256", "p384"} {
		key := signertest.Key(t, kind)
		agent.Add(key, kind)
		if err := os.WriteFile(filepath.Join(dir, kind+".pem"), signertest.CertPEM(ca.Issue(t, key, nil), ca.Cert), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, flags, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	env := []string{"SSH_AUTH_SOCK=" + agent.Socket}
	args := func(kind string) []string {
		return append([]string{"--certificate", kind + ".pem", "--private-key", "sshagent:"}, strings.Fields(flags)...)
	}
	for kind, code := range map[string]int{"rsa2048": 0, "p256": 0, "p384": front.ExitUnavailable} {
		cmd := exec.Command("holdfast", append([]string{"credential-process"}, args(kind)...)...)
		cmd.Dir, cmd.Env = dir, append(env, "PATH="+os.Getenv("PATH"), "GORACE="+clitest.QuickExit)
		out, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		var creds struct{ AccessKeyId string }
		switch {
		case cmd.ProcessState.ExitCode() != code:
			t.Errorf("%s: exit code %d, want %d", kind, cmd.ProcessState.ExitCode(), code)
		case code == 0 && (json.Unmarshal(out, &creds) != nil || creds.AccessKeyId == ""):
			t.Errorf("%s: no credentials", kind)
		case code != 0 && !strings.Contains(string(exit.Stderr), "SHA-384 for ECDSA P-384, not with SHA-256"):
			t.Errorf("%s: %s", kind, exit.Stderr)
		}
	}
	for _, kind := range []string{"rsa2048", "p256"} {
		s := clitest.StartServe(t, dir, env, args(kind)...)
		clitest.Eventually(t, kind+" has credentials", func() bool {
			status, _, _ := clitest.CredentialsOf(t, s, "/credentials")
			return status == http.StatusOK
		})
	}
}
