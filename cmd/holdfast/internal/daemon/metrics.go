package daemon

import (
	"slices"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
	"github.com/holdfast-dev/holdfast/pki/renew"
)

// metrics returns the metrics in the text format of Prometheus.
func (m *monitor) metrics(states []state) string {
	var b service.Metrics
	perRole := func(name, kind, help string, value func(state) float64) {
		b.Family(name, kind, help)
		for _, s := range states {
			b.Add(name, value(s), "role", s.name)
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
		b.Family(name, "gauge", help)
		for _, s := range states {
			if s.renewal != nil && s.renewal.Certificate != nil {
				b.Add(name, value(*s.renewal), "role", s.name)
			}
		}
	}
	perRenewer("certificate_renewal_due_timestamp_seconds", "When the renewal of the certificate is due.", func(s renew.Status) float64 { return float64(s.Due.Unix()) })
	perRenewer("certificate_renewal_failures_in_a_row", "Failed attempts to renew the certificate since the last successful one.", func(s renew.Status) float64 { return float64(s.Failures) })
	perRenewer("certificate_renewal_overdue", "1 if less than a sixth of the life of the certificate is left.", func(s renew.Status) float64 {
		return service.OneIf(s.IsOverdue(m.now()))
	})
	perRenewer("certificate_renewal_waiting", "1 if the CA has the request and has not issued the certificate yet.", func(s renew.Status) float64 { return service.OneIf(s.IsWaiting()) })
	m.requests.AddTo(&b)
	b.AddServer(m.server)
	b.Single("pkcs11_helpers_ended_total", "counter", "Helper processes of PKCS #11 modules that crashed, or were ended because the module did not answer.", float64(m.endedHelpers()))
	b.AddProcess(m.started)
	return b.String()
}
