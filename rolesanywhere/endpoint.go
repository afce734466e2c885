package rolesanywhere

import (
	"net/url"

	"github.com/holdfast-dev/holdfast/internal/awsservice"
)

// The path of CreateSession, and the name of its endpoint in errors.
const (
	sessionsPath = "/sessions"
	endpointName = "endpoint"
)

// endpoint returns the URL of CreateSession.
func endpoint(cfg Config) (*url.URL, error) {
	return awsservice.Endpoint{
		Name: endpointName, Field: "Config.Endpoint", Host: "rolesanywhere", FIPSHost: "rolesanywhere-fips", Region: cfg.Region, Path: sessionsPath,
		Custom: cfg.Endpoint, FIPS: cfg.FIPS, DualStack: cfg.DualStack, Insecure: cfg.Insecure,
	}.URL()
}

// CheckEndpoint returns an error if s is not a valid [Config.Endpoint]. insecure
// is [Config.Insecure]. The error does not contain a password in s.
func CheckEndpoint(s string, insecure bool) error {
	_, err := awsservice.CustomEndpoint(endpointName, s, sessionsPath, insecure)
	return err
}

func partitionOf(region string) awsservice.Partition { return awsservice.PartitionOf(region) }

func clip(s string) string { return awsservice.Clip(s) }
