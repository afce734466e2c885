package doctor

import (
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
)

func TestEndpointVariables(t *testing.T) {
	const (
		imds    = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
		full    = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
		noIMDS  = "AWS_EC2_METADATA_DISABLED"
		ignored = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
	)
	for _, test := range []struct {
		name          string
		env           map[string]string
		container     bool
		state         state // "": no line
		seen, command string
	}{
		{"nothing", nil, true, "", "", ""},
		{"container endpoint", map[string]string{full: "http://127.0.0.1:9911/credentials"}, false, ok, full + " is set: clients ask this endpoint", ""},
		{"container endpoint of ECS", map[string]string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/x"}, true, ok, "RELATIVE_URI is set", ""},
		{"metadata service", map[string]string{imds: "http://10.0.0.1:9911"}, false, ok, imds + " is set: clients ask", ""},
		{"metadata service, from a container", map[string]string{imds: "http://10.0.0.1:9911"}, true, warning, imds + " is 10.0.0.1:9911, outside of this container: responses with an IP hop limit of 1 do not arrive", "holdfast serve --hop-limit 2"},
		{"metadata service of a host, from a container", map[string]string{imds: "http://host.docker.internal:9911/"}, true, warning, "host.docker.internal:9911, outside", "holdfast serve --hop-limit 2"},
		{"with a password, from a container", map[string]string{imds: "http://u:secret@10.0.0.1/"}, true, warning, "is 10.0.0.1, outside", "holdfast serve --hop-limit 2"},
		{"in the same container", map[string]string{imds: "http://127.0.0.1:9911"}, true, ok, "is set: clients ask", ""},
		{"in the same container, by name", map[string]string{imds: "http://localhost:9911"}, true, ok, "is set: clients ask", ""},
		{"in the same container, IPv6", map[string]string{imds: "http://[::1]:9911"}, true, ok, "is set: clients ask", ""},
		{"not a URL, from a container", map[string]string{imds: "http://%zz"}, true, warning, "is another address, outside", "holdfast serve --hop-limit 2"},
		{"disabled", map[string]string{imds: "http://10.0.0.1:9911", noIMDS: "TRUE"}, true, warning, "but " + noIMDS + " is true: clients do not ask it", "unset " + noIMDS},
		{"not disabled", map[string]string{imds: "http://10.0.0.1:9911", noIMDS: "false"}, false, ok, "is set: clients ask", ""},
		{"disabled without an endpoint", map[string]string{noIMDS: "true"}, false, "", "", ""},
		{"endpoint of AWS", map[string]string{"AWS_ENDPOINT_URL_STS": "https://u:secret@sts.example/"}, false, ok, "requests go to sts.example", ""},
		{"ignored endpoint", map[string]string{"AWS_ENDPOINT_URL": "https://a.example", ignored: "true"}, false, "", "", ""},
	} {
		p := &patient{App: front.App{LookupEnv: func(name string) (string, bool) { v, set := test.env[name]; return v, set }}}
		results := p.endpoints(test.container)
		switch {
		case test.state == "" && len(results) == 0:
		case len(results) != 1:
			t.Errorf("%s: %+v", test.name, results)
		case results[0].State != test.state || !strings.Contains(results[0].Seen, test.seen) || results[0].Command != test.command || strings.Contains(results[0].Seen, "secret"):
			t.Errorf("%s: %+v", test.name, results[0])
		}
	}
}
