package agent_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// An agent that may not create TokenReviews says so before a pod asks, and is not ready. An
// outage after the first review does not change that it is ready.
func TestNoReviews(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.kube.fault.Store(refuseAll(http.StatusForbidden))
	s.start(t)
	await := func(status int, ready bool, text string) {
		t.Helper()
		clitest.Eventually(t, fmt.Sprintf("status %d with %q", status, text), func() bool {
			resp, body := clitest.Ask(t, "GET", s.Status+"/readyz")
			var doc struct {
				Base      struct{ Ready bool }
				APIServer struct {
					Ready bool
					Error string
				} `json:"api_server"`
			}
			return json.Unmarshal([]byte(body), &doc) == nil && doc.Base.Ready && resp.StatusCode == status &&
				doc.APIServer.Ready == ready && strings.Contains(doc.APIServer.Error, text)
		})
	}
	await(http.StatusServiceUnavailable, false, "tokenreviews.authentication.k8s.io")
	clitest.Eventually(t, "a warning", func() bool { return len(s.logLines("tokens of pods cannot be reviewed")) == 1 })
	s.kube.fault.Store(nil)
	await(http.StatusOK, true, "")
	s.kube.fault.Store(refuseAll(http.StatusInternalServerError))
	s.ask(t, s.kube.pod("shop", "checkout", "checkout-a"))
	await(http.StatusOK, true, "status 500")
	if n := clitest.Metric(t, s.Served, "holdfast_agent_review_failures_total"); n == "" || n == "0" {
		t.Errorf("%q failures", n)
	}
}
