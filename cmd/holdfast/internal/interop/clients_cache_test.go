package interop

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// AWS's clients, each of which starts a process for every command, share one
// session.
func TestAWSClientsShareSession(t *testing.T) {
	for _, flag := range clitest.Caches(t) {
		t.Run(flag, func(t *testing.T) {
			dir := t.TempDir()
			clitest.WriteFiles(t, dir, "p256")
			url, flags, stop, err := clitest.RunEmulator(dir, "--trust-anchor", "ca.pem", "--events", "events")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(stop)
			id := clitest.Identity{Dir: dir, Env: []string{"XDG_CACHE_HOME=" + filepath.Join(dir, "cache")}, Flags: []string{
				flag, "--certificate", filepath.Join(dir, "cert.pem"), "--private-key", filepath.Join(dir, "key.pem"),
			}}
			clients := awsClients(t)
			for _, c := range slices.Concat(clients, clients) {
				c.run(t, id, url, flags)
			}
			events, err := os.ReadFile(filepath.Join(dir, "events"))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(events, []byte(`"eventName":"CreateSession"`)); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
			if n, want := bytes.Count(events, []byte(`"eventName":"GetCallerIdentity"`)), 2*len(clients); n != want {
				t.Errorf("%d questions, want %d", n, want)
			}
		})
	}
}
