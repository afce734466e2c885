package rolesanywhere

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// A partition is an AWS partition, a group of regions with its own domains.
type partition struct {
	name      string
	prefix    string // of its regions
	suffix    string
	dualStack string // "" if the service has no dual-stack endpoints there
}

// partitions lists the partitions in the order in which a region is matched. As
// in the AWS SDKs, the last one matches every region. Source: endpoint rules of
// the service in aws-sdk-go-v2 (service/rolesanywhere v1.33.1).
var partitions = []partition{
	{"aws-cn", "cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
	{"aws-us-gov", "us-gov-", "amazonaws.com", "api.aws"},
	{"aws-eusc", "eusc-", "amazonaws.eu", "api.amazonwebservices.eu"},
	{"aws-iso", "us-iso-", "c2s.ic.gov", ""},
	{"aws-iso-b", "us-isob-", "sc2s.sgov.gov", ""},
	{"aws-iso-e", "eu-isoe-", "cloud.adc-e.uk", ""},
	{"aws-iso-f", "us-isof-", "csp.hci.ic.gov", ""},
	{"aws", "", "amazonaws.com", "api.aws"},
}

func partitionOf(region string) partition {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p
		}
	}
	panic("unreachable: the last partition matches every region")
}

// endpoint returns the URL of CreateSession.
func endpoint(cfg Config, partitionName string) (*url.URL, error) {
	if cfg.Endpoint != "" {
		if cfg.FIPS || cfg.DualStack {
			return nil, signer.WithHint(errors.New("a custom endpoint cannot be combined with a FIPS or dual-stack endpoint"),
				"leave out Config.Endpoint, or Config.FIPS and Config.DualStack")
		}
		return customEndpoint(cfg.Endpoint, cfg.Insecure)
	}
	p := partitionOf(cfg.Region)
	host, suffix := "rolesanywhere", p.suffix
	if cfg.FIPS {
		host += "-fips"
	}
	if cfg.DualStack {
		if suffix = p.dualStack; suffix == "" {
			return nil, signer.WithHint(fmt.Errorf("partition %s has no dual-stack endpoints", partitionName),
				"leave out Config.DualStack")
		}
	}
	return &url.URL{Scheme: "https", Host: host + "." + cfg.Region + "." + suffix, Path: "/sessions"}, nil
}

func customEndpoint(s string, insecure bool) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s // aws_signing_helper also accepts a bare host
	}
	refuse := func(why error) (*url.URL, error) {
		return nil, signer.WithHint(fmt.Errorf("endpoint %q %w", clip(s), why), "use the form https://HOST or http://127.0.0.1:PORT")
	}
	u, err := url.Parse(s)
	host, _, _ := strings.Cut(s[strings.Index(s, "://")+3:], "/")
	switch {
	case strings.Count(host, ":") > 1 && !strings.ContainsAny(host, "[]@"):
		return nil, signer.WithHint(fmt.Errorf("endpoint %q contains an IPv6 address without brackets", clip(s)),
			"write the address in brackets, as in http://[::1]:9911")
	case strings.Contains(s, "@"):
		return nil, signer.WithHint(errors.New("endpoint contains a user name or password"), "use the form https://HOST")
	case err != nil:
		return refuse(errors.New("is not a URL"))
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.RawQuery != "", u.Fragment != "", !isPort(u.Port()):
		return refuse(errors.New("is not an http or https URL with only a host and an optional port"))
	case u.Path != "" && u.Path != "/":
		return refuse(errors.New("contains a path; the service's endpoint has none"))
	case u.Scheme == "http" && !insecure && !isLoopback(u.Hostname()):
		return nil, signer.WithHint(fmt.Errorf("endpoint %q would send credentials over the network unencrypted", clip(s)),
			"use https, or allow it with Config.Insecure")
	}
	u.Path = "/sessions"
	return u, nil
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
