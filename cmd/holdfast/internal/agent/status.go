package agent

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/podidentity"
)

// A monitor implements the status endpoints. It is safe for concurrent use.
type monitor struct {
	base      *role.Role
	pool      *podidentity.Pool
	mapping   *mappingFile
	counts    *counts
	reviewer  *podidentity.Reviewer
	addresses []netip.Addr // on which the agent listens
	server    *loopback.Server
	started   time.Time
	requests  *service.Requests

	endedHelpers func() int64
}

func (m *monitor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		m.alive()
		service.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", m.ready)
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { service.WriteMetrics(w, m.metrics()) })
	return service.Guard(mux)
}

// alive returns when it has read the status of the base role and of the pool. It blocks
// if a lock is stuck, so that the watchdog and /healthz detect a deadlock.
func (m *monitor) alive() {
	m.base.Cache.Status()
	m.pool.Status()
	m.mapping.stats()
}

// ready responds with status 200 if pods can get credentials: the addresses exist, a
// mapping is loaded, there are credentials of the base role, and the API server has
// reviewed a token or a probe since the start. Later outages of the API server do not
// matter here.
func (m *monitor) ready(w http.ResponseWriter, _ *http.Request) {
	type address struct {
		Address string `json:"address"`
		Present bool   `json:"present"`
	}
	var doc struct {
		Ready     bool      `json:"ready"`
		Addresses []address `json:"addresses"`
		Base      struct {
			Name     string     `json:"name"`
			Ready    bool       `json:"ready"`
			Expires  *time.Time `json:"expires,omitempty"`
			Failures int        `json:"failures,omitempty"`
			Error    string     `json:"error,omitempty"`
		} `json:"base"`
		Mapping struct {
			Pods     int    `json:"pods"`
			Failures int    `json:"failures,omitempty"`
			Error    string `json:"error,omitempty"`
		} `json:"mapping"`
		APIServer struct {
			Ready bool   `json:"ready"`
			Error string `json:"error,omitempty"`
		} `json:"api_server"`
	}
	base, mapping := m.base.Cache.Status(), m.mapping.stats()
	doc.Base.Name, doc.Base.Failures = m.base.Name, base.Failures
	if doc.Base.Ready = !base.Expires.IsZero(); doc.Base.Ready {
		expires := base.Expires.UTC()
		doc.Base.Expires = &expires
	}
	if base.Err != nil {
		doc.Base.Error = front.Redact(base.Err.Error(), nil)
	}
	doc.Mapping.Pods, doc.Mapping.Failures = mapping.pods, mapping.failures
	if mapping.err != nil {
		doc.Mapping.Error = front.Redact(mapping.err.Error(), nil)
	}
	reviews := m.reviewer.Status()
	if doc.APIServer.Ready = reviews.Worked; reviews.Err != nil {
		doc.APIServer.Error = front.Redact(reviews.Err.Error(), nil)
	}
	doc.Ready = doc.Base.Ready && mapping.loads > 0 && doc.APIServer.Ready
	for _, a := range m.addresses {
		present := isPresent(a)
		doc.Ready = doc.Ready && present
		doc.Addresses = append(doc.Addresses, address{a.String(), present})
	}
	code := http.StatusOK
	if !doc.Ready {
		code = http.StatusServiceUnavailable
	}
	service.WriteJSON(w, code, doc)
}

// metrics returns the metrics in the text format of Prometheus.
func (m *monitor) metrics() string {
	var b service.Metrics
	base, mapping := m.base.Cache.Status(), m.mapping.stats()
	expiry := 0.0
	if !base.Expires.IsZero() {
		expiry = float64(base.Expires.Unix())
	}
	leaf := m.base.Identity.Chain()[0]
	perBase := func(name, kind, help string, value float64) {
		b.Family(name, kind, help)
		b.Add(name, value, "role", m.base.Name)
	}
	perBase("credentials_expiry_timestamp_seconds", "gauge", "Expiry of the credentials of the base role; 0 if there are none.", expiry)
	perBase("certificate_expiry_timestamp_seconds", "gauge", "Expiry of the certificate in use.", float64(leaf.NotAfter.Unix()))
	perBase("certificate_start_timestamp_seconds", "gauge", "Start of the validity of the certificate in use.", float64(leaf.NotBefore.Unix()))
	perBase("renewals_total", "counter", "Attempts to obtain credentials of the base role.", float64(base.Renewals))
	perBase("renewal_failures_total", "counter", "Failed attempts to obtain credentials of the base role.", float64(base.FailedRenewals))
	perBase("renewal_failures_in_a_row", "gauge", "Failed attempts to obtain credentials of the base role since the last successful one.", float64(base.Failures))

	b.Single("agent_mapping_pods", "gauge", "Entries of the mapping in use.", float64(mapping.pods))
	b.Single("agent_mapping_failures_total", "counter", "Mapping files that were refused.", float64(mapping.failures))
	b.Single("agent_mapping_failed", "gauge", "1 if the current mapping file was refused, so that an older one is in use.", service.OneIf(mapping.err != nil))
	reviews := m.reviewer.Status()
	b.Single("agent_reviews_total", "counter", "Requests to the API server to review a token.", float64(reviews.Requests))
	b.Single("agent_review_failures_total", "counter", "Requests to the API server that failed, other than by a refusal of the token.", float64(reviews.Failures))
	m.roleMetrics(&b)
	b.Family("agent_address_present", "gauge", "1 if this machine has the address.")
	for _, a := range m.addresses {
		b.Add("agent_address_present", service.OneIf(isPresent(a)), "address", a.String())
	}
	m.requests.AddTo(&b)
	b.AddServer(m.server)
	b.Single("pkcs11_helpers_ended_total", "counter", "Helper processes of PKCS #11 modules that crashed, or were ended because the module did not answer.", float64(m.endedHelpers()))
	b.AddProcess(m.started)
	return b.String()
}

// roleMetrics adds the metrics of the roles of pods.
func (m *monitor) roleMetrics(b *service.Metrics) {
	roles, refused := m.counts.snapshot()
	type state struct{ valid, failing int }
	states := make(map[string]state)
	for _, s := range m.pool.Status() {
		of := states[s.RoleARN]
		if !s.Expires.IsZero() {
			of.valid++
		}
		if s.Err != nil {
			of.failing++
		}
		states[s.RoleARN] = of
	}
	perState := func(name, help string, value func(state) int) {
		b.Family(name, "gauge", help)
		for _, arn := range sorted(states) {
			b.Add(name, float64(value(states[arn])), "role_arn", arn)
		}
	}
	perState("agent_sessions", "Sessions of a role with valid credentials.", func(s state) int { return s.valid })
	perState("agent_sessions_failing", "Sessions of a role whose last renewal failed.", func(s state) int { return s.failing })
	perRole := func(name, help string, value func(roleCounts) int) {
		b.Family(name, "counter", help)
		for _, arn := range sorted(roles) {
			b.Add(name, float64(value(roles[arn])), "role_arn", arn)
		}
	}
	perRole("agent_issued_total", "Responses with credentials of a role.", func(c roleCounts) int { return c.issued })
	perRole("agent_role_requests_total", "Attempts to obtain credentials of a role.", func(c roleCounts) int { return c.requests })
	perRole("agent_role_failures_total", "Failed attempts to obtain credentials of a role.", func(c roleCounts) int { return c.failures })
	b.Family("agent_refused_total", "counter", "Requests of pods that were refused, by code.")
	for _, code := range sorted(refused) {
		b.Add("agent_refused_total", float64(refused[code]), "code", code)
	}
}
