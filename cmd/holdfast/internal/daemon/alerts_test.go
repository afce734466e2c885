package daemon

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/alerttest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	alertRules = "../../../../docs/deployment/prometheus-alerts.yml"
	alertTests = "testdata/alerts_test.yml"
)

func TestAlertRules(t *testing.T) {
	m := &monitor{requests: service.NewRequests(endpoints[:]), server: new(loopback.Server), now: time.Now, endedHelpers: func() int64 { return 0 }}
	m.requests.Observe(httptest.NewRequest("GET", "/credentials", nil), 200)
	leaf := signertest.NewCA(t, "root").Cert
	alerttest.CheckRules(t, alertRules, alertTests, m.metrics([]state{{name: "app", leaf: leaf, renewal: &renew.Status{Certificate: leaf}}}))
}

func TestAlertsOfPrometheus(t *testing.T) { alerttest.Promtool(t, alertRules, alertTests) }
