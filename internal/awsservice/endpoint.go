package awsservice

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// A Partition is an AWS partition, a group of regions with its own domains.
type Partition struct {
	Name      string
	prefix    string // of its regions
	suffix    string // of the domains of its regions
	dualStack string // of dual-stack endpoints; "": none
}

// partitions lists the partitions in the order in which a region is matched. As
// in the AWS SDKs, the last one matches every region. Source: endpoint rules of
// IAM Roles Anywhere in aws-sdk-go-v2 (service/rolesanywhere v1.33.1).
var partitions = []Partition{
	{"aws-cn", "cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
	{"aws-us-gov", "us-gov-", "amazonaws.com", "api.aws"},
	{"aws-eusc", "eusc-", "amazonaws.eu", "api.amazonwebservices.eu"},
	{"aws-iso", "us-iso-", "c2s.ic.gov", ""},
	{"aws-iso-b", "us-isob-", "sc2s.sgov.gov", ""},
	{"aws-iso-e", "eu-isoe-", "cloud.adc-e.uk", ""},
	{"aws-iso-f", "us-isof-", "csp.hci.ic.gov", ""},
	{"aws", "", "amazonaws.com", "api.aws"},
}

// PartitionOf returns the partition of a region.
func PartitionOf(region string) Partition {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.prefix) {
			return p
		}
	}
	panic("unreachable: the last partition matches every region")
}

// OtherHost returns the host of an endpoint with its port, or "" if it is one of AWS,
// such as that of a VPC.
func OtherHost(u *url.URL) string {
	name := strings.ToLower(u.Hostname())
	for _, p := range partitions {
		if strings.HasSuffix(name, "."+p.suffix) || p.dualStack != "" && strings.HasSuffix(name, "."+p.dualStack) {
			return ""
		}
	}
	return u.Host
}

// An Endpoint selects the endpoint of an API.
type Endpoint struct {
	Name      string // in errors, such as "STS endpoint"
	Field     string // that sets Custom, in hints
	Host      string // first label of the domain
	FIPSHost  string // the same of FIPS endpoints
	Region    string
	Path      string
	Custom    string // a URL; "": the endpoint of the region
	FIPS      bool
	DualStack bool
	Insecure  bool // allow plain HTTP to hosts other than the local one
}

// URL returns the URL of the API.
func (e Endpoint) URL() (*url.URL, error) {
	if e.Custom != "" {
		if e.FIPS || e.DualStack {
			return nil, signer.WithHint(fmt.Errorf("a custom %s cannot be combined with a FIPS or dual-stack endpoint", e.Name),
				"leave out "+e.Field+", or Config.FIPS and Config.DualStack")
		}
		return CustomEndpoint(e.Name, e.Custom, e.Path, e.Insecure)
	}
	p := PartitionOf(e.Region)
	host, suffix := e.Host, p.suffix
	if e.FIPS {
		host = e.FIPSHost
	}
	if e.DualStack {
		if suffix = p.dualStack; suffix == "" {
			return nil, signer.WithHint(fmt.Errorf("partition %s has no dual-stack endpoints", p.Name), "leave out Config.DualStack")
		}
	}
	return &url.URL{Scheme: "https", Host: host + "." + e.Region + "." + suffix, Path: e.Path}, nil
}

// CustomEndpoint returns the URL of a user with the path of an API. what names
// the endpoint in errors. Plain HTTP is refused unless insecure is true or the
// host is the local one.
func CustomEndpoint(what, s, path string, insecure bool) (*url.URL, error) {
	if !strings.Contains(s, "://") {
		s = "https://" + s // aws_signing_helper also accepts a bare host
	}
	refuse := func(why error) (*url.URL, error) {
		return nil, signer.WithHint(fmt.Errorf("%s %q %w", what, Clip(s), why), "use the form https://HOST or http://127.0.0.1:PORT")
	}
	u, err := url.Parse(s)
	host, _, _ := strings.Cut(s[strings.Index(s, "://")+3:], "/")
	switch {
	case strings.Count(host, ":") > 1 && strings.Trim(host, "0123456789abcdefABCDEF:") == "":
		return nil, signer.WithHint(fmt.Errorf("%s %q contains an IPv6 address without brackets", what, Clip(s)),
			"write the address in brackets, as in http://[::1]:9911")
	case strings.Contains(s, "@"):
		return nil, signer.WithHint(fmt.Errorf("%s contains a user name or password", what), "use the form https://HOST")
	case err != nil:
		return refuse(errors.New("is not a URL"))
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.RawQuery != "", u.Fragment != "", !isPort(u.Port()):
		return refuse(errors.New("is not an http or https URL with only a host and an optional port"))
	case u.Path != "" && u.Path != "/":
		return refuse(errors.New("contains a path; the service's endpoint has none"))
	case u.Scheme == "http" && !insecure && !isLoopback(u.Hostname()):
		return nil, signer.WithHint(fmt.Errorf("%s %q would send credentials over the network unencrypted", what, Clip(s)),
			"use https, or allow it with Config.Insecure")
	}
	u.Path = path
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
