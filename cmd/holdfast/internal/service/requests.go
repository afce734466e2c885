package service

import (
	"net/http"
	"strconv"
	"sync/atomic"
)

const maxStatus = 600

// An Endpoint is a label of the request counters.
type Endpoint struct {
	Name  string
	Match func(path string) bool
}

// Requests counts responses by endpoint and status. It is safe for concurrent use.
type Requests struct {
	endpoints []Endpoint
	counts    [][maxStatus]atomic.Int64
}

// NewRequests returns counters. A request counts for the first endpoint that matches its
// path; the last one matches all paths. NewRequests borrows endpoints.
func NewRequests(endpoints []Endpoint) *Requests {
	return &Requests{endpoints, make([][maxStatus]atomic.Int64, len(endpoints))}
}

// Observe is for the field of that name of loopback.Server.
func (c *Requests) Observe(r *http.Request, status int) {
	for i, e := range c.endpoints {
		if e.Match(r.URL.Path) {
			if status >= 0 && status < maxStatus {
				c.counts[i][status].Add(1)
			}
			return
		}
	}
}

// AddTo adds the counters to metrics.
func (c *Requests) AddTo(m *Metrics) {
	m.Family("requests_total", "counter", "Requests answered, by endpoint and HTTP status code.")
	for i := range c.counts {
		for code := range c.counts[i] {
			if n := c.counts[i][code].Load(); n > 0 {
				m.Add("requests_total", float64(n), "endpoint", c.endpoints[i].Name, "code", strconv.Itoa(code))
			}
		}
	}
}
