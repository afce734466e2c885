package daemon

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki/renew"
)

// metrics returns the Prometheus text format, version 0.0.4. The role names in
// labels contain no characters that need escapes.
func (m *monitor) metrics(states []state) string {
	var b strings.Builder
	family := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP holdfast_%s %s\n# TYPE holdfast_%s %s\n", name, help, name, kind)
	}
	perRole := func(name, kind, help string, value func(state) float64) {
		family(name, kind, help)
		for _, s := range states {
			fmt.Fprintf(&b, "holdfast_%s{role=%q} %s\n", name, s.name, number(value(s)))
		}
	}
	perRole("credentials_expiry_timestamp_seconds", "gauge", "Expiry of the credentials that are served; 0 if there are none.", func(s state) float64 {
		if e := s.credentials.Expires; !e.IsZero() {
			return float64(e.Unix())
		}
		return 0
	})
	perRole("certificate_expiry_timestamp_seconds", "gauge", "Expiry of the certificate in use.", func(s state) float64 { return float64(s.leaf.NotAfter.Unix()) })
	perRole("certificate_start_timestamp_seconds", "gauge", "Start of the validity of the certificate in use.", func(s state) float64 { return float64(s.leaf.NotBefore.Unix()) })
	perRole("renewals_total", "counter", "Attempts to obtain credentials.", func(s state) float64 { return float64(s.credentials.Renewals) })
	perRole("renewal_failures_total", "counter", "Failed attempts to obtain credentials.", func(s state) float64 { return float64(s.credentials.FailedRenewals) })
	perRole("renewal_failures_in_a_row", "gauge", "Failed attempts to obtain credentials since the last successful one.", func(s state) float64 { return float64(s.credentials.Failures) })
	perRole("renewal_running_seconds", "gauge", "Duration of the current attempt to obtain credentials; 0 if there is none.", func(s state) float64 { return s.credentials.Renewing.Seconds() })
	perRole("reloads_total", "counter", "Successful reloads of the key and certificate.", func(s state) float64 { return float64(s.reloads.Reloads) })
	perRole("reload_failures_total", "counter", "Failed reloads of the key and certificate.", func(s state) float64 { return float64(s.reloads.FailedReloads) })
	perRenewer := func(name, help string, value func(renew.Status) float64) {
		if !slices.ContainsFunc(states, func(s state) bool { return s.renewal != nil }) {
			return
		}
		family(name, "gauge", help)
		for _, s := range states {
			if s.renewal != nil && s.renewal.Certificate != nil {
				fmt.Fprintf(&b, "holdfast_%s{role=%q} %s\n", name, s.name, number(value(*s.renewal)))
			}
		}
	}
	perRenewer("certificate_renewal_due_timestamp_seconds", "When the renewal of the certificate is due.", func(s renew.Status) float64 { return float64(s.Due.Unix()) })
	perRenewer("certificate_renewal_failures_in_a_row", "Failed attempts to renew the certificate since the last successful one.", func(s renew.Status) float64 { return float64(s.Failures) })
	perRenewer("certificate_renewal_overdue", "1 if less than a sixth of the life of the certificate is left.", func(s renew.Status) float64 {
		return oneIf(s.IsOverdue(m.now()))
	})
	perRenewer("certificate_renewal_waiting", "1 if the CA has the request and has not issued the certificate yet.", func(s renew.Status) float64 { return oneIf(s.IsWaiting()) })
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
	return b.String()
}

func oneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}

func number(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprint(int64(v))
	}
	return fmt.Sprint(v)
}
