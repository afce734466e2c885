package doctor

import (
	"net"
	"net/url"
	"os"
	"strings"
)

// endpoints returns what variables of endpoints mean for clients.
func (p *patient) endpoints(inContainer bool) (results []result) {
	for _, name := range []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"} {
		if v := p.Env(name); v != "" {
			results = append(results, fine("%s is set: clients ask this endpoint if they find no other credentials", name))
		}
	}
	imds := p.Env("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	switch {
	case imds != "" && strings.EqualFold(p.Env("AWS_EC2_METADATA_DISABLED"), "true"):
		results = append(results, warn("AWS_EC2_METADATA_SERVICE_ENDPOINT is set, but AWS_EC2_METADATA_DISABLED is true: clients do not ask it").with("unset", "AWS_EC2_METADATA_DISABLED"))
	case imds != "" && inContainer && !isLocal(imds):
		results = append(results, warn("AWS_EC2_METADATA_SERVICE_ENDPOINT is %s, outside of this container: responses with an IP hop limit of 1 do not arrive", hostOf(imds)).
			because("use a limit of 2 or more where the endpoint runs").paste("holdfast serve --hop-limit 2"))
	case imds != "":
		results = append(results, fine("AWS_EC2_METADATA_SERVICE_ENDPOINT is set: clients ask this endpoint if they find no other credentials"))
	}
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ROLESANYWHERE", "AWS_ENDPOINT_URL_STS"} {
		if v := p.Env(name); v != "" && !strings.EqualFold(p.Env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"), "true") {
			results = append(results, fine("%s is set: requests go to %s", name, hostOf(v)))
		}
	}
	return results
}

func hostOf(text string) string {
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		return u.Host
	}
	return "another address"
}

func isLocal(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// inContainer reports whether a container engine has left its mark.
func inContainer() bool {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); err == nil {
			return true
		}
	}
	return false
}
