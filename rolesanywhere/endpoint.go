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

// A partition is a part of AWS with domains of its own.
type partition struct {
	name      string
	prefix    string // of its regions
	suffix    string
	dualStack string // "" if the service has no dual-stack endpoints there
}

// partitions in the order in which a region is matched; the last one takes
// what no other does, as the AWS SDKs do. Source: endpoint rules of the
// service in aws-sdk-go-v2 (service/rolesanywhere v1.33.1).
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
	panic("unreachable: the last partition takes every region")
}

// endpoint returns the URL of CreateSession.
func endpoint(cfg Config, partitionName string) (*url.URL, error) {
	if cfg.Endpoint != "" {
		if cfg.FIPS || cfg.DualStack {
			return nil, signer.WithHint(errors.New("an endpoint of one's own excludes FIPS and dual-stack endpoints"),
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
		s = "https://" + s // as aws_signing_helper takes it
	}
	refuse := func(why error) (*url.URL, error) {
		return nil, signer.WithHint(fmt.Errorf("endpoint %q %w", clip(s), why), "it has the form https://HOST or http://127.0.0.1:PORT")
	}
	u, err := url.Parse(s)
	switch {
	case strings.Contains(s, "@"):
		return nil, signer.WithHint(errors.New("endpoint has a user name or password, which have no use there"), "it has the form https://HOST")
	case err != nil:
		return refuse(errors.New("is not a URL"))
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.RawQuery != "", u.Fragment != "", !isPort(u.Port()):
		return refuse(errors.New("is not the URL of a host"))
	case u.Path != "" && u.Path != "/":
		return refuse(errors.New("has a path, which the service has not"))
	case u.Scheme == "http" && !insecure && !isLoopback(u.Hostname()):
		return nil, signer.WithHint(fmt.Errorf("endpoint %q would send credentials over the network in clear", clip(s)),
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
