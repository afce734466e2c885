package daemon

import (
	"net/http"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/service"
)

// endpoints are the endpoint labels of the request counters; see service.NewRequests.
var endpoints = [...]service.Endpoint{
	{Name: "token", Match: func(p string) bool { return strings.HasSuffix(p, "/latest/api/token") }},
	{Name: "imds-credentials", Match: func(p string) bool { return strings.Contains(p, "/latest/meta-data/iam/security-credentials/") }},
	{Name: "imds", Match: func(p string) bool { return strings.Contains(p, "/latest/") }},
	{Name: "container", Match: isContainerPath},
	{Name: "other", Match: func(string) bool { return true }},
}

func isContainerPath(path string) bool { return strings.HasSuffix(path, "/credentials") }

// isContainer reports whether r is a request of the container endpoint.
func isContainer(r *http.Request) bool { return isContainerPath(r.URL.Path) }
