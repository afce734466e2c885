//go:build linux

package pages

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/keystore/spiffe/spiffetest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestCommandsOfSPIFFE runs the page about SPIFFE, with a Workload API in the place of the
// agent.
func TestCommandsOfSPIFFE(t *testing.T) {
	t.Parallel()
	r := newReader(t)
	root := signertest.NewCA(t, "root")
	api := spiffetest.Start(t, spiffetest.Issue(t, root.Intermediate(t, "SPIRE"), "p256", "spiffe://example.org/app", nil))
	for path, mode := range map[string]os.FileMode{filepath.Dir(api.Path): 0o755, api.Path: 0o777} { // for another user
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	anchor := filepath.Join(r.dir, "root.pem")
	if err := os.WriteFile(anchor, signertest.CertPEM(root.Cert), 0o644); err != nil {
		t.Fatal(err)
	}
	url, _, stop, err := clitest.RunEmulator(r.dir, "--trust-anchor", anchor)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	r.sendTo(url)
	r.replace = append(r.replace, "/tmp/spire-agent/public/api.sock", api.Path)
	r.run(script(t, "spiffe.md", "") + `
holdfast doctor --private-key spiffe: --trust-anchor-arn "$TRUST_ANCHOR_ARN" --profile-arn "$PROFILE_ARN" --role-arn "$ROLE_ARN"
holdfast verify --private-key spiffe: --trust-anchor root.pem
`)
}
