package daemon

import (
	"net/http"
	"strings"
)

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
	{"container", isContainerPath},
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

func isContainerPath(path string) bool { return strings.HasSuffix(path, "/credentials") }

// isContainer reports whether r is a request of the container endpoint.
func isContainer(r *http.Request) bool { return isContainerPath(r.URL.Path) }
