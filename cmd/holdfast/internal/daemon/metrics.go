package daemon

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// A monitor implements the status endpoints /healthz, /readyz and /metrics. It
// is safe for concurrent use after roles is set.
type monitor struct {
	roles   []*role.Role
	server  *loopback.Server
	now     func() time.Time
	started time.Time

	endedHelpers func() int64 // see keystore.Isolator

	requests [len(endpoints)][maxStatus]atomic.Int64
}

const maxStatus = 600

// endpoints are the endpoint labels of the request counters. A request counts
// for the first endpoint that matches its path. The last endpoint matches all
// paths.
var endpoints = [...]struct {
	name  string
	match func(path string) bool
}{
	{"token", func(p string) bool { return strings.HasSuffix(p, "/latest/api/token") }},
	{"imds-credentials", func(p string) bool { return strings.Contains(p, "/latest/meta-data/iam/security-credentials/") }},
	{"imds", func(p string) bool { return strings.Contains(p, "/latest/") }},
	{"container", func(p string) bool { return strings.HasSuffix(p, "/credentials") }},
	{"other", func(string) bool { return true }},
}

func (m *monitor) observe(r *http.Request, status int) {
	for i, e := range endpoints {
		if e.match(r.URL.Path) {
			if status >= 0 && status < maxStatus {
				m.requests[i][status].Add(1)
			}
			return
		}
	}
}

func (m *monitor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		m.alive()
		writeStatus(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", m.ready)
	mux.HandleFunc("GET /metrics", m.metrics)
	return mux
}

// alive returns when it has read the status of all roles. It blocks if a lock
// is stuck, so that the watchdog and /healthz detect a deadlock.
func (m *monitor) alive() {
	for _, r := range m.roles {
		r.Cache.Status()
	}
}

// ready answers 200 if every role has valid credentials.
func (m *monitor) ready(w http.ResponseWriter, _ *http.Request) {
	type state struct {
		Name     string     `json:"name"`
		Ready    bool       `json:"ready"`
		Expires  *time.Time `json:"expires,omitempty"`
		Failures int        `json:"failures,omitempty"`
		Error    string     `json:"error,omitempty"`
	}
	var doc struct {
		Ready bool    `json:"ready"`
		Roles []state `json:"roles"`
	}
	doc.Ready = true
	for _, r := range m.roles {
		status := r.Cache.Status()
		s := state{Name: r.Name, Ready: !status.Expires.IsZero(), Failures: status.Failures}
		if s.Ready {
			expires := status.Expires.UTC()
			s.Expires = &expires
		}
		if status.Err != nil {
			s.Error = front.OneLine(status.Err.Error())
		}
		doc.Ready = doc.Ready && s.Ready
		doc.Roles = append(doc.Roles, s)
	}
	code := http.StatusOK
	if !doc.Ready {
		code = http.StatusServiceUnavailable
	}
	writeStatus(w, code, doc)
}

func writeStatus(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = front.WriteJSON(w, v) // the client may be gone
}

// metrics writes the Prometheus text format, version 0.0.4. The role names in
// labels contain no characters that need escapes.
func (m *monitor) metrics(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	family := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP holdfast_%s %s\n# TYPE holdfast_%s %s\n", name, help, name, kind)
	}
	perRole := func(name, kind, help string, value func(*role.Role) float64) {
		family(name, kind, help)
		for _, r := range m.roles {
			fmt.Fprintf(&b, "holdfast_%s{role=%q} %s\n", name, r.Name, number(value(r)))
		}
	}
	perRole("credentials_expiry_timestamp_seconds", "gauge", "Expiry of the credentials that are served; 0 if there are none.", func(r *role.Role) float64 {
		if e := r.Cache.Status().Expires; !e.IsZero() {
			return float64(e.Unix())
		}
		return 0
	})
	perRole("certificate_expiry_timestamp_seconds", "gauge", "Expiry of the certificate in use.", func(r *role.Role) float64 { return float64(r.Identity.Chain()[0].NotAfter.Unix()) })
	perRole("renewals_total", "counter", "Attempts to obtain credentials.", func(r *role.Role) float64 { return float64(r.Cache.Status().Renewals) })
	perRole("renewal_failures_total", "counter", "Failed attempts to obtain credentials.", func(r *role.Role) float64 { return float64(r.Cache.Status().FailedRenewals) })
	perRole("renewal_failures_in_a_row", "gauge", "Failed attempts to obtain credentials since the last successful one.", func(r *role.Role) float64 { return float64(r.Cache.Status().Failures) })
	perRole("renewal_running_seconds", "gauge", "Duration of the current attempt to obtain credentials; 0 if there is none.", func(r *role.Role) float64 { return r.Cache.Status().Renewing.Seconds() })
	perRole("reloads_total", "counter", "Successful reloads of the key and certificate.", func(r *role.Role) float64 { return float64(r.Identity.Stats().Reloads) })
	perRole("reload_failures_total", "counter", "Failed reloads of the key and certificate.", func(r *role.Role) float64 { return float64(r.Identity.Stats().FailedReloads) })
	perRenewer := func(name, help string, value func(renew.Status) float64) {
		renews := func(r *role.Role) bool { return r.Renewer != nil }
		if !slices.ContainsFunc(m.roles, renews) {
			return
		}
		family(name, "gauge", help)
		for _, r := range m.roles {
			if !renews(r) {
				continue
			}
			if s := r.Renewer.Last(); s.Certificate != nil {
				fmt.Fprintf(&b, "holdfast_%s{role=%q} %s\n", name, r.Name, number(value(s)))
			}
		}
	}
	perRenewer("certificate_renewal_due_timestamp_seconds", "When the renewal of the certificate is due.", func(s renew.Status) float64 { return float64(s.Due.Unix()) })
	perRenewer("certificate_renewal_failures_in_a_row", "Failed attempts to renew the certificate since the last successful one.", func(s renew.Status) float64 { return float64(s.Failures) })
	perRenewer("certificate_renewal_overdue", "1 if less than a sixth of the life of the certificate is left.", func(s renew.Status) float64 {
		if s.IsOverdue(m.now()) {
			return 1
		}
		return 0
	})
	family("requests_total", "counter", "Requests answered, by endpoint and HTTP status code.")
	for i := range m.requests {
		for code := range m.requests[i] {
			if n := m.requests[i][code].Load(); n > 0 {
				fmt.Fprintf(&b, "holdfast_requests_total{endpoint=%q,code=\"%d\"} %d\n", endpoints[i].name, code, n)
			}
		}
	}
	open, dropped := m.server.Conns()
	family("connections_open", "gauge", "Open connections.")
	fmt.Fprintf(&b, "holdfast_connections_open %d\n", open)
	family("connections_dropped_total", "counter", "Connections without a request that were closed to make room for new ones.")
	fmt.Fprintf(&b, "holdfast_connections_dropped_total %d\n", dropped)
	family("pkcs11_helpers_ended_total", "counter", "Helper processes of PKCS #11 modules that crashed, or were ended because the module did not answer.")
	fmt.Fprintf(&b, "holdfast_pkcs11_helpers_ended_total %d\n", m.endedHelpers())
	family("start_timestamp_seconds", "gauge", "Start time of the process.")
	fmt.Fprintf(&b, "holdfast_start_timestamp_seconds %d\n", m.started.Unix())
	family("build_info", "gauge", "Version of Holdfast and of Go, as labels.")
	build := front.ReadBuild()
	fmt.Fprintf(&b, "holdfast_build_info{version=%q,go=%q} 1\n", build.Version, build.Go)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(b.String())) // the client may be gone
}

func number(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprint(int64(v))
	}
	return fmt.Sprint(v)
}
