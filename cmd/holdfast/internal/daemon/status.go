package daemon

import (
	"crypto/x509"
	"net/http"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/role"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// A monitor implements the status endpoints /, /healthz, /readyz and /metrics. It
// is safe for concurrent use after roles is set.
type monitor struct {
	roles   []*role.Role
	server  *loopback.Server
	now     func() time.Time
	started time.Time

	endedHelpers func() int64 // see keystore.Isolator

	requests *service.Requests
}

// A state is the state of a role at one moment. It is all that the status endpoints
// show of a role.
type state struct {
	name, arn, scheme string
	leaf              *x509.Certificate
	credentials       credentials.Status

	reloads   rotate.Stats
	reloaded  time.Time // when the last reload ended; zero: there was none
	reloadErr error     // of that reload

	renewal *renew.Status // nil: this process does not renew the certificate
}

// ready reports whether the role has valid credentials.
func (s state) ready() bool { return !s.credentials.Expires.IsZero() }

// states returns the state of each role. It asks no device.
func (m *monitor) states() []state {
	states := make([]state, len(m.roles))
	for i, r := range m.roles {
		s := state{
			name: r.Name, arn: r.ARN, scheme: r.KeyScheme, leaf: r.Identity.Chain()[0],
			credentials: r.Cache.Status(), reloads: r.Identity.Stats(),
		}
		s.reloaded, s.reloadErr = r.Identity.LastReload()
		if r.Renewer != nil {
			last := r.Renewer.Last()
			s.renewal = &last
		}
		states[i] = s
	}
	return states
}

func (m *monitor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		m.alive()
		service.WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { ready(w, m.states()) })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		service.WriteMetrics(w, m.metrics(m.states()))
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		servePage(w, r, page{m.states(), front.ReadBuild(), m.started, m.now()})
	})
	return service.Guard(mux)
}

// alive returns when it has read the status of all roles. It blocks if a lock
// is stuck, so that the watchdog and /healthz detect a deadlock.
func (m *monitor) alive() {
	for _, r := range m.roles {
		r.Cache.Status()
	}
}

// ready answers 200 if every role has valid credentials.
func ready(w http.ResponseWriter, states []state) {
	type role struct {
		Name     string     `json:"name"`
		Ready    bool       `json:"ready"`
		Expires  *time.Time `json:"expires,omitempty"`
		Failures int        `json:"failures,omitempty"`
		Error    string     `json:"error,omitempty"`
	}
	var doc struct {
		Ready bool   `json:"ready"`
		Roles []role `json:"roles"`
	}
	doc.Ready = true
	for _, s := range states {
		r := role{Name: s.name, Ready: s.ready(), Failures: s.credentials.Failures}
		if r.Ready {
			expires := s.credentials.Expires.UTC()
			r.Expires = &expires
		}
		if err := s.credentials.Err; err != nil {
			r.Error = front.Redact(err.Error(), nil)
		}
		doc.Ready = doc.Ready && r.Ready
		doc.Roles = append(doc.Roles, r)
	}
	code := http.StatusOK
	if !doc.Ready {
		code = http.StatusServiceUnavailable
	}
	service.WriteJSON(w, code, doc)
}
