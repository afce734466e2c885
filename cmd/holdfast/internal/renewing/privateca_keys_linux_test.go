package renewing_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Keys in SoftHSM and swtpm renew their certificates twice.
func TestPrivateCAWithDevices(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	for _, id := range slices.Concat(clitest.TokenIdentities(t, ca), clitest.TPMIdentities(t, ca)) {
		t.Run(id.Name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(id.Dir, "ca-key.pem"), signertest.KeyPEM(t, ca.Key), 0o600); err != nil {
				t.Fatal(err)
			}
			url, arns, stop, err := clitest.RunEmulator(id.Dir, "--trust-anchor", "ca.pem", "--private-ca-key", "ca-key.pem")
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			args := slices.Concat([]string{"renew", "--way", "private-ca", "--ca-arn", privateCA, "--ca-url", url, "--state-file", filepath.Join(id.Dir, "state")}, id.Flags, strings.Fields(arns))
			for _, more := range []string{"--allow-change", "--allow-change=false"} {
				cmd := clitest.PlainCommand(t, append(args, more)...)
				cmd.Dir = id.Dir
				cmd.Env = append(cmd.Env, id.Env...)
				if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "renewed ") {
					t.Fatalf("%v: %s", err, out)
				}
			}
		})
	}
}
