package daemon

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const alertRules = "../../../../docs/deployment/prometheus-alerts.yml"

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// The alert rules use only metrics and labels that serve exports, and each rule has a test.
func TestAlertRules(t *testing.T) {
	m := &monitor{requests: service.NewRequests(endpoints[:]), server: new(loopback.Server), now: time.Now, endedHelpers: func() int64 { return 0 }}
	m.requests.Observe(httptest.NewRequest("GET", "/credentials", nil), 200)
	leaf := signertest.NewCA(t, "root").Cert
	exported := m.metrics([]state{{name: "app", leaf: leaf, renewal: &renew.Status{Certificate: leaf}}})

	rules, tests := read(t, alertRules), read(t, "testdata/alerts_test.yml")
	_, rules, _ = strings.Cut(rules, "\ngroups:\n")
	found := strings.Split(rules, "\n      - alert: ")[1:]
	if len(found) < 10 {
		t.Fatalf("%d rules", len(found))
	}
	metric := regexp.MustCompile(`\bholdfast_[a-z0-9_]+`)
	label := regexp.MustCompile(`(?:{{ \$labels\.|[{,] ?)([a-z]+)(?:=| }})`)
	foreign := []string{"instance", "job"} // Prometheus adds these
	for _, rule := range found {
		name, text, _ := strings.Cut(rule, "\n")
		for _, name := range metric.FindAllString(text, -1) {
			if !strings.Contains(exported, "\n# TYPE "+name+" ") {
				t.Errorf("%s: serve exports no metric %s", rule[:strings.Index(rule, "\n")], name)
			}
		}
		for _, found := range label.FindAllStringSubmatch(text, -1) {
			if l := found[1]; !slices.Contains(foreign, l) && !regexp.MustCompile(`[{,]`+l+`="`).MatchString(exported) {
				t.Errorf("%s: serve exports no label %s", name, l)
			}
		}
		for _, want := range []string{"        expr: ", "          severity: ", "          summary: ", "          description: "} {
			if strings.Count("\n"+text, "\n"+want) != 1 {
				t.Errorf("%s: not one line with %s", name, strings.TrimSpace(want))
			}
		}
		if !strings.Contains(tests, name) {
			t.Errorf("%s has no test in alerts_test.yml", name)
		}
	}
}

// promtool accepts the rules, and their own tests pass.
func TestAlertsOfPrometheus(t *testing.T) {
	promtool := signertest.Require(t, "prometheus", "promtool")
	dir := t.TempDir()
	for name, text := range map[string]string{"prometheus-alerts.yml": read(t, alertRules), "alerts_test.yml": read(t, "testdata/alerts_test.yml")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "prometheus-alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args, err, out)
		}
	}
}
