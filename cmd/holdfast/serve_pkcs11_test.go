//go:build cgo && linux

package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A token that is pulled leaves the credentials that are there; when it is back
// they are renewed by it, and nobody is asked for anything.
func TestServeWhileTheTokenIsAway(t *testing.T) {
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	id := tokenIdentities(t, ca)[0]
	s := &site{dir: id.dir, ca: ca, up: newUpstream(t, ca.Root(), 6*time.Second)}
	s.served = startServe(t, id.dir, id.env, append(append([]string{"--status-listen", "127.0.0.1:0"}, id.flags...), s.up.args...)...)
	waitReady(t, s.served)
	conf := strings.TrimPrefix(id.env[0], "SOFTHSM2_CONF=")
	tokens := filepath.Join(filepath.Dir(conf), "tokens")
	failures := func() string { return metric(t, s.served, `holdfast_renewal_failures_total{role="demo"}`) }
	var expires time.Time
	for round := range 2 {
		before := failures()
		if err := os.Rename(tokens, tokens+".away"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a renewal fails", func() bool {
			s.check(t, &expires)
			return failures() != before
		})
		if err := os.Rename(tokens+".away", tokens); err != nil {
			t.Fatal(err)
		}
		calls := s.up.sessions.Load()
		eventually(t, "a renewal with the token", func() bool {
			s.check(t, &expires)
			return s.up.sessions.Load() > calls
		})
		eventually(t, "credentials", func() bool { return s.check(t, &expires) == http.StatusOK })
		t.Logf("round %d: %s failures", round, failures())
	}
}
