package rolesanywhere

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/holdfast-dev/holdfast/rolesanywhere/internal/service"
	"github.com/holdfast-dev/holdfast/signer"
)

// sessionsPath is the path of CreateSession.
const sessionsPath = "/sessions"

// endpoint returns the URL of CreateSession.
func endpoint(cfg Config, partitionName string) (*url.URL, error) {
	if cfg.Endpoint != "" {
		if cfg.FIPS || cfg.DualStack {
			return nil, signer.WithHint(errors.New("a custom endpoint cannot be combined with a FIPS or dual-stack endpoint"),
				"leave out Config.Endpoint, or Config.FIPS and Config.DualStack")
		}
		return service.CustomEndpoint("endpoint", cfg.Endpoint, sessionsPath, cfg.Insecure)
	}
	p := partitionOf(cfg.Region)
	host, suffix := "rolesanywhere", p.Suffix
	if cfg.FIPS {
		host += "-fips"
	}
	if cfg.DualStack {
		if suffix = p.DualStack; suffix == "" {
			return nil, signer.WithHint(fmt.Errorf("partition %s has no dual-stack endpoints", partitionName),
				"leave out Config.DualStack")
		}
	}
	return &url.URL{Scheme: "https", Host: host + "." + cfg.Region + "." + suffix, Path: sessionsPath}, nil
}

// CheckEndpoint returns an error if s is not a valid [Config.Endpoint]. insecure
// is [Config.Insecure]. The error does not contain a password in s.
func CheckEndpoint(s string, insecure bool) error {
	_, err := service.CustomEndpoint("endpoint", s, sessionsPath, insecure)
	return err
}

func partitionOf(region string) service.Partition { return service.PartitionOf(region) }

func clip(s string) string { return service.Clip(s) }
