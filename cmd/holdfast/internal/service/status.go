package service

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
)

// WriteJSON responds with a status code and a document.
func WriteJSON(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = front.WriteJSON(w, document) // the client may be gone
}

// WriteMetrics responds with metrics in the text format of Prometheus.
func WriteMetrics(w http.ResponseWriter, metrics string) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = io.WriteString(w, metrics) // the client may be gone
}

// Guard returns a handler that adds the headers of all responses of the status
// endpoints.
func Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, h := range statusHeaders {
			w.Header().Set(h.name, h.value)
		}
		next.ServeHTTP(w, r)
	})
}

var statusHeaders = [...]struct{ name, value string }{
	{"Cache-Control", "no-store"},
	{"Cross-Origin-Resource-Policy", "same-origin"},
	{"Referrer-Policy", "no-referrer"},
	{"X-Content-Type-Options", "nosniff"},
	{"X-Frame-Options", "DENY"},
}

// Metrics collects metrics in the text format of Prometheus, version 0.0.4. The
// names of all of them begin with holdfast_. The zero value is empty.
type Metrics struct{ text strings.Builder }

// Family begins the metrics of a name. kind is gauge or counter.
func (m *Metrics) Family(name, kind, help string) {
	fmt.Fprintf(&m.text, "# HELP holdfast_%s %s\n# TYPE holdfast_%s %s\n", name, help, name, kind)
}

// Add adds a metric of the last Family. labels are names and values in turn.
func (m *Metrics) Add(name string, value float64, labels ...string) {
	m.text.WriteString("holdfast_" + name)
	for i := 0; i+1 < len(labels); i += 2 {
		sep := ","
		if i == 0 {
			sep = "{"
		}
		fmt.Fprintf(&m.text, "%s%s=\"%s\"", sep, labels[i], escapeLabel(labels[i+1]))
	}
	if len(labels) > 1 {
		m.text.WriteByte('}')
	}
	m.text.WriteString(" " + number(value) + "\n")
}

// Single is Family and Add for a metric without labels.
func (m *Metrics) Single(name, kind, help string, value float64) {
	m.Family(name, kind, help)
	m.Add(name, value)
}

// AddServer adds the metrics about the connections of a server.
func (m *Metrics) AddServer(s *loopback.Server) {
	open, dropped := s.Conns()
	m.Single("connections_open", "gauge", "Open connections.", float64(open))
	m.Single("connections_dropped_total", "counter", "Connections without a request that were closed to make room for new ones.", float64(dropped))
}

// AddProcess adds the metrics about this process.
func (m *Metrics) AddProcess(started time.Time) {
	m.Single("start_timestamp_seconds", "gauge", "Start time of the process.", float64(started.Unix()))
	m.Family("build_info", "gauge", "Version of Holdfast and of Go, as labels.")
	build := front.ReadBuild()
	m.Add("build_info", 1, "version", build.Version, "go", build.Go)
}

// String returns the metrics.
func (m *Metrics) String() string { return m.text.String() }

func escapeLabel(value string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)
}

func number(v float64) string {
	if v == float64(int64(v)) {
		return fmt.Sprint(int64(v))
	}
	return fmt.Sprint(v)
}

// OneIf returns 1 if condition is true, otherwise 0.
func OneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}

// URL returns the URL of a listener for clients on this machine. It replaces an
// unspecified address by 127.0.0.1.
func URL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
