//go:build linux

package agent_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/alerttest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

const (
	alertRules = "../../../../docs/deployment/prometheus-alerts-agent.yml"
	alertTests = "testdata/prometheus-alerts-agent_test.yml"
)

func TestAlertsOfPrometheus(t *testing.T) { alerttest.Promtool(t, alertRules, alertTests) }

// Pods get the credentials of their roles, which AWS accepts, and nothing else.
func TestPods(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	checkout, twin := s.kube.pod("shop", "checkout", "checkout-a"), s.kube.pod("shop", "checkout", "checkout-b")
	own1, own2 := s.kube.pod("shop", "own", "own-a"), s.kube.pod("shop", "own", "own-b")
	s.start(t)
	clitest.WaitReady(t, s.Served)

	first := s.obtain(t, checkout)
	if arn := s.identity(t, first); arn != "arn:aws:sts::111122223333:assumed-role/checkout/shop.checkout" || first.AccountId != "111122223333" {
		t.Errorf("the pod is %s, of account %s", arn, first.AccountId)
	}
	assumed := s.aws.assumed.Load()
	if second := s.obtain(t, twin); second.AccessKeyId != first.AccessKeyId || s.aws.assumed.Load() != assumed {
		t.Error("two pods of a service account do not share a session")
	}
	if again := s.obtain(t, "Bearer "+checkout); again.AccessKeyId != first.AccessKeyId {
		t.Errorf("with Bearer: %d %s", again.status, again.Message)
	}
	a, b := s.obtain(t, own1), s.obtain(t, own2)
	if a.AccessKeyId == b.AccessKeyId || s.identity(t, a) != "arn:aws:sts::444455556666:assumed-role/open/shop.own" {
		t.Errorf("with tag_pod, pods share the session %s", a.AccessKeyId)
	}
	if d := time.Until(a.Expiration); d > 15*time.Minute {
		t.Errorf("a session of 900 seconds is valid for %v", d)
	}
	long := s.obtain(t, s.kube.pod("batch", "long", "long-a"))
	if arn := s.identity(t, long); !strings.HasPrefix(arn, "arn:aws:sts::111122223333:assumed-role/direct/") || time.Until(long.Expiration) < 5*time.Hour {
		t.Errorf("the direct session is that of %s, until %v", arn, long.Expiration)
	}
	if n := s.aws.sessions.Load(); n != 2 {
		t.Errorf("%d calls of CreateSession, want one for the base role and one for the direct role", n)
	}

	for _, test := range []struct {
		name, token string
		status      int
		code        string
	}{
		{"no token", "", 400, "MalformedToken"},
		{"not a token", "abc", 400, "MalformedToken"},
		{"unknown", strings.Replace(checkout, "ey", "ez", 1), 401, "InvalidToken"},
		{"other node", s.kube.podAt("node-2", "shop", "checkout", "checkout-c"), 401, "InvalidToken"},
		{"no role", s.kube.pod("kube-system", "default", "x"), 403, "AccessDenied"},
		{"refused by AWS", s.kube.pod("shop", "thief", "thief-a"), 403, "AccessDenied"},
	} {
		if a := s.obtain(t, test.token); a.status != test.status || a.Code != test.code || a.AccessKeyId != "" || a.Message == "" {
			t.Errorf("%s: %+v, want %d %s", test.name, a, test.status, test.code)
		}
	}
	if resp, _ := clitest.Ask(t, "GET", s.URL+"/latest/meta-data"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("another path: status %d", resp.StatusCode)
	}
	s.checkRecords(t)
	_, metrics := clitest.Ask(t, "GET", s.Status+"/metrics")
	alerttest.CheckRules(t, alertRules, alertTests, metrics)
	for _, secret := range []string{first.SecretAccessKey, first.Token, long.SecretAccessKey, checkout, agentToken, "s3same"} {
		if strings.Contains(s.Log.String(), secret) {
			t.Error("the log contains a secret")
		}
	}
}

// checkRecords checks the audit log and the metrics after TestPods.
func (s *scene) checkRecords(t *testing.T) {
	t.Helper()
	issued := s.logLines("credentials were issued")
	if len(issued) != 5 { // a pod asked twice
		t.Fatalf("%d audit lines, want 5", len(issued))
	}
	got := issued[0]
	if _, err := time.Parse(time.RFC3339, got["expires"].(string)); err != nil {
		t.Error(err)
	}
	for key, want := range map[string]any{
		"namespace": "shop", "service_account": "checkout", "pod": "checkout-a", "pod_uid": "00000000-0000-0000-0000-000000000000",
		"role_arn": checkoutRole, "address": "127.0.0.1",
	} {
		if got[key] != want {
			t.Errorf("audit line: %s is %v, want %v", key, got[key], want)
		}
	}
	clitest.Eventually(t, "the refusal of AWS is logged with its hint", func() bool {
		lines := s.logLines("credentials were not obtained")
		return len(lines) > 0 && strings.Contains(fmt.Sprint(lines[0]["hint"]), "the session tags of the pod")
	})
	refused := s.logLines("credentials were refused")
	if len(refused) < 5 {
		t.Errorf("%d refusals are logged", len(refused))
	}
	if !slices.ContainsFunc(refused, func(line map[string]any) bool {
		return line["code"] == "InvalidToken" && line["namespace"] == "shop" && line["pod"] == "checkout-c"
	}) {
		t.Errorf("no line names the pod of another node: %v", refused)
	}
	for name, want := range map[string]string{
		`holdfast_agent_issued_total{role_arn="` + checkoutRole + `"}`: "3",
		`holdfast_agent_issued_total{role_arn="` + openRole + `"}`:     "2",
		`holdfast_agent_sessions{role_arn="` + openRole + `"}`:         "2",
		`holdfast_agent_refused_total{code="MalformedToken"}`:          "2",
		`holdfast_agent_mapping_pods`:                                  "4",
		`holdfast_agent_address_present{address="127.0.0.1"}`:          "1",
		`holdfast_requests_total{endpoint="pods",code="200"}`:          "6",
		`holdfast_renewals_total{role="node"}`:                         "1",
	} {
		if value := clitest.Metric(t, s.Served, name); value != want {
			t.Errorf("%s is %q, want %s", name, value, want)
		}
	}
	failures := `holdfast_agent_role_failures_total{role_arn="` + checkoutRole + `"}`
	if value := clitest.Metric(t, s.Served, failures); value == "" || value == "0" { // the agent tries again
		t.Errorf("%s is %q", failures, value)
	}
}

// The mapping changes under load, by the swap of a symbolic link as in a volume of a
// ConfigMap. No pod that keeps its role notices.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	write := func(folder, text string) {
		t.Helper()
		if err := os.Mkdir(s.path(folder), 0o700); err != nil {
			t.Fatal(err)
		}
		s.write(t, folder+"/pods.toml", text)
		if err := os.Symlink(folder, s.path("..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(s.path("..data_tmp"), s.path("..data")); err != nil {
			t.Fatal(err)
		}
	}
	write("v0", pods)
	if err := os.Remove(s.path("pods.toml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/pods.toml", s.path("pods.toml")); err != nil {
		t.Fatal(err)
	}
	checkout, other := s.kube.pod("shop", "checkout", "checkout-a"), s.kube.pod("new", "app", "app-a")
	s.start(t)
	clitest.WaitReady(t, s.Served)
	s.obtain(t, checkout)
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if a := s.ask(t, checkout); a.status != http.StatusOK {
					t.Errorf("status %d: %s", a.status, a.Message)
					return
				}
			}
		})
	}
	loads := func() int { return len(s.logLines("the mapping file was read")) }
	added := pods + "\n[[pod]]\nnamespace = \"new\"\nservice_account = \"app\"\nrole_arn = \"" + openRole + "\"\n"
	for i := range 10 {
		before := loads()
		if i%2 == 0 {
			write("with"+string(rune('0'+i)), added)
		} else {
			write("without"+string(rune('0'+i)), pods)
		}
		if i > 1 { // the first two are found without a signal
			if err := s.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		clitest.Eventually(t, "the mapping is read", func() bool { return loads() > before })
		want := http.StatusOK
		if i%2 == 1 {
			want = http.StatusForbidden
		}
		if a := s.obtain(t, other); a.status != want {
			t.Errorf("mapping %d: status %d, want %d: %s", i, a.status, want, a.Message)
		}
	}
	close(stop)
	load.Wait()

	write("bad", "[[pod]]\nnamespace = 1\n")
	clitest.Eventually(t, "the bad mapping is refused", func() bool {
		return clitest.Metric(t, s.Served, "holdfast_agent_mapping_failed") == "1"
	})
	if a := s.ask(t, checkout); a.status != http.StatusOK {
		t.Errorf("with a bad mapping: status %d", a.status)
	}
	lines := s.logLines("the mapping file was not read; the pods keep the roles of the old one")
	if len(lines) != 1 || !strings.Contains(lines[0]["error"].(string), "line 2") {
		t.Errorf("%v", lines)
	}
	write("empty", "")
	clitest.Eventually(t, "the pod has no role any more", func() bool { return s.ask(t, checkout).status == http.StatusForbidden })
	if v := clitest.Metric(t, s.Served, "holdfast_agent_mapping_failed"); v != "0" {
		t.Errorf("holdfast_agent_mapping_failed is %s", v)
	}
}

// Killed and started again, the agent uses the session that it kept.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	checkout := s.kube.pod("shop", "checkout", "checkout-a")
	for run := range 3 {
		s.start(t, "--state", "session")
		clitest.WaitReady(t, s.Served)
		if a := s.obtain(t, checkout); a.status != http.StatusOK {
			t.Fatalf("run %d: status %d: %s", run, a.status, a.Message)
		}
		clitest.Eventually(t, "the state is there", func() bool { _, err := os.Stat(s.path("session")); return err == nil })
		if err := s.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = s.End() // it was killed
	}
	if n := s.aws.sessions.Load(); n != 1 {
		t.Errorf("%d calls of CreateSession in three runs", n)
	}
	info, err := os.Stat(s.path("session"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// Another duration is another session.
	s.start(t, "--state", "session", "--session-duration", "3600")
	clitest.WaitReady(t, s.Served)
	if n := s.aws.sessions.Load(); n != 2 {
		t.Errorf("%d calls of CreateSession after a change", n)
	}
}

// While AWS or the API server is down, requests are held and then told to come again;
// pods with credentials notice nothing.
func TestOutages(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	checkout, own := s.kube.pod("shop", "checkout", "checkout-a"), s.kube.pod("shop", "own", "own-a")
	s.aws.fault.Store(refuseAll(http.StatusServiceUnavailable))
	s.start(t)
	begin := time.Now()
	if a := s.ask(t, checkout); a.status != http.StatusServiceUnavailable || a.retryAfter == "" || time.Since(begin) < time.Second {
		t.Errorf("status %d after %v", a.status, time.Since(begin))
	}
	if resp, body := clitest.Ask(t, "GET", s.Status+"/readyz"); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ready: %s", body)
	}
	s.aws.fault.Store(nil)
	clitest.Eventually(t, "credentials", func() bool { return s.ask(t, checkout).status == http.StatusOK })
	s.kube.fault.Store(refuseAll(http.StatusInternalServerError))
	if a := s.ask(t, own); a.status != http.StatusServiceUnavailable {
		t.Errorf("without the API server: status %d", a.status)
	}
	if a := s.ask(t, checkout); a.status != http.StatusOK { // the review is remembered
		t.Errorf("a pod that was reviewed before: status %d", a.status)
	}
	s.kube.fault.Store(nil)
	clitest.Eventually(t, "credentials of the other pod", func() bool { return s.ask(t, own).status == http.StatusOK })
}

// On SIGTERM, the agent ends without an error.
func TestTerminated(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	s.start(t)
	clitest.WaitReady(t, s.Served)
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.End(); err != nil {
		t.Errorf("%v\n%s", err, s.Log)
	}
}

// The agent tells systemd when it is ready, alive and stopping.
func TestUnderSystemd(t *testing.T) {
	t.Parallel()
	s := newScene(t, nil)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	if err := manager.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"NOTIFY_SOCKET=" + s.path("notify"), "WATCHDOG_USEC=100000"}
	s.start(t)
	expect := func(want string) {
		t.Helper()
		for buf := make([]byte, 4096); ; {
			n, err := manager.Read(buf)
			if err != nil {
				t.Fatalf("%s: %v", want, err)
			}
			if strings.Contains(string(buf[:n]), want) {
				return
			}
		}
	}
	expect("READY=1\nSTATUS=serving the pods of node-1")
	expect("WATCHDOG=1")
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	expect("STOPPING=1")
}

// With --state-seal, the session is encrypted with a key that a TPM seals.
func TestSealedState(t *testing.T) {
	t.Parallel()
	signertest.Require(t, "swtpm", "swtpm")
	s := newScene(t, nil)
	s.env = []string{"TPM_DEVICE=" + tpmtest.Start(t).Path}
	for range 2 {
		s.start(t, "--state", "session", "--state-seal", "tpm:path=seal.pem")
		clitest.WaitReady(t, s.Served)
		if err := s.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = s.End() // it was killed
	}
	if n := s.aws.sessions.Load(); n != 1 {
		t.Errorf("%d calls of CreateSession\n%s", n, s.Log)
	}
	data, err := os.ReadFile(s.path("session"))
	if err != nil || bytes.Contains(data, []byte("ASIA")) {
		t.Errorf("%v, %q", err, data)
	}
	// Without the TPM, the agent works, but keeps nothing.
	s.env = []string{"TPM_DEVICE=" + s.path("none")}
	s.start(t, "--state", "session", "--state-seal", "tpm:path=seal.pem")
	clitest.WaitReady(t, s.Served)
	if n := len(s.logLines("the key of the state file is not available; continuing without the file")); n != 1 {
		t.Errorf("%d warnings\n%s", n, s.Log)
	}
}
