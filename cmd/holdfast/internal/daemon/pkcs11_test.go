//go:build cgo && linux

package daemon_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// While the token is removed, serve returns the current credentials. When the
// token is back, serve renews them without a prompt.
func TestServeWhileTokenIsRemoved(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	id := clitest.TokenIdentities(t, ca)[0]
	s := &clitest.Site{Dir: id.Dir, CA: ca, Up: clitest.NewUpstream(t, ca.Root(), 6*time.Second)}
	s.Served = clitest.StartServe(t, id.Dir, id.Env, append(append([]string{"--status-listen", "127.0.0.1:0"}, id.Flags...), s.Up.Args...)...)
	clitest.WaitReady(t, s.Served)
	conf := strings.TrimPrefix(id.Env[0], "SOFTHSM2_CONF=")
	tokens := filepath.Join(filepath.Dir(conf), "tokens")
	failures := func() string { return clitest.Metric(t, s.Served, `holdfast_renewal_failures_total{role="demo"}`) }
	var expires time.Time
	for round := range 2 {
		before := failures()
		if err := os.Rename(tokens, tokens+".away"); err != nil {
			t.Fatal(err)
		}
		clitest.Eventually(t, "a renewal fails", func() bool {
			s.Check(t, &expires)
			return failures() != before
		})
		if err := os.Rename(tokens+".away", tokens); err != nil {
			t.Fatal(err)
		}
		calls := s.Up.Sessions.Load()
		clitest.Eventually(t, "a renewal with the token", func() bool {
			s.Check(t, &expires)
			return s.Up.Sessions.Load() > calls
		})
		clitest.Eventually(t, "credentials", func() bool { return s.Check(t, &expires) == http.StatusOK })
		t.Logf("round %d: %s failures", round, failures())
	}
}
