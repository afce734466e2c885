package privateca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/internal/certpath"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// DefaultTimeout is the default time limit for the calls of one renewal, without
// the session.
const DefaultTimeout = time.Minute

// DefaultTemplate is the name of the default template. Its certificates are for
// TLS clients and get the subject and the alternative names of the request.
const DefaultTemplate = "EndEntityClientAuthCertificate/V1"

// The limits of IssueCertificate (service model of acm-pca, 2017-08-22). AWS
// limits no number of days; 36500 are a century.
const (
	maxARN  = 200
	maxDays = 36500
)

// A Config describes a CA and what to ask it for.
type Config struct {
	CAARN string // arn:PARTITION:acm-pca:REGION:ACCOUNT:certificate-authority/ID

	// Session obtains the credentials that sign the calls, with the key and
	// certificate in use, which it borrows.
	Session func(ctx context.Context, inUse signer.Signer) (credentials.Credentials, error)

	// TemplateARN is the template of the certificate. "": DefaultTemplate.
	TemplateARN string
	// SigningAlgorithm is the algorithm by which the CA signs, of the family
	// of its key, such as SHA256WITHECDSA. "": that of the certificate in use.
	SigningAlgorithm string
	// Days is the validity from the issuance. 0: the days of the certificate
	// in use, rounded, but at least one.
	Days int

	Endpoint  string // a URL; "": the endpoint of the region
	FIPS      bool   // use the FIPS endpoint
	DualStack bool   // use the dual-stack endpoint
	// Insecure allows plain HTTP to hosts other than the local one.
	Insecure bool

	Transport http.RoundTripper // nil: rolesanywhere.NewTransport with its defaults
	Timeout   time.Duration     // 0: DefaultTimeout
	UserAgent string            // "": "Holdfast"
	Now       func() time.Time  // nil: time.Now
	Logger    *slog.Logger      // nil: discard; it gets no secrets
}

// A CA is a [renew.Way] to renew certificates with AWS Private CA. It is safe for
// concurrent use if Config.Session is.
type CA struct {
	config Config
	region string
	server awsservice.Server
	pause  func(ctx context.Context, d time.Duration) error
}

var _ renew.Way = (*CA)(nil)

// New checks the configuration. It sends no request.
func New(config Config) (*CA, error) {
	c := &CA{config: config, pause: await.Pause}
	if err := c.check(); err != nil {
		return nil, err
	}
	u, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	if c.config.Transport == nil {
		if c.config.Transport, err = rolesanywhere.NewTransport(rolesanywhere.TransportConfig{}); err != nil {
			return nil, err
		}
	}
	if c.config.Timeout == 0 {
		c.config.Timeout = DefaultTimeout
	}
	if c.config.UserAgent == "" {
		c.config.UserAgent = "Holdfast"
	}
	if c.config.Now == nil {
		c.config.Now = time.Now
	}
	c.config.Logger = logging.OrDiscard(c.config.Logger)
	c.server = awsservice.Server{Name: "AWS Private CA", URL: u, Unreachable: errUnreachable, Transport: c.config.Transport, Logger: c.config.Logger}
	return c, nil
}

func (c *CA) check() error {
	const form = "use the form arn:aws:acm-pca:REGION:ACCOUNT:certificate-authority/ID; aws acm-pca list-certificate-authorities prints it"
	parts := strings.Split(c.config.CAARN, ":")
	if len(parts) != 6 || len(c.config.CAARN) > maxARN || parts[0] != "arn" || parts[2] != "acm-pca" ||
		len(parts[4]) != 12 || strings.Trim(parts[4], "0123456789") != "" {
		return signer.WithHint(fmt.Errorf("%q is not the ARN of a CA of AWS Private CA", awsservice.Clip(c.config.CAARN)), form)
	}
	id, ok := strings.CutPrefix(parts[5], "certificate-authority/")
	if c.region = parts[3]; !ok || !isWord(id) || !isRegion(c.region) {
		return signer.WithHint(fmt.Errorf("%q is not the ARN of a CA of AWS Private CA", awsservice.Clip(c.config.CAARN)), form)
	}
	partition := awsservice.PartitionOf(c.region).Name
	if parts[1] != partition {
		return signer.WithHint(fmt.Errorf("the ARN %q has the partition %s, but the region %s belongs to the partition %s", c.config.CAARN, awsservice.Clip(parts[1]), c.region, partition), form)
	}
	templates := "arn:" + partition + ":acm-pca:::template/"
	if c.config.TemplateARN == "" {
		c.config.TemplateARN = templates + DefaultTemplate
	}
	name, ok := strings.CutPrefix(c.config.TemplateARN, templates)
	badTemplate := !ok || len(c.config.TemplateARN) > maxARN || !isWord(strings.Replace(name, "/", "", 1))
	switch known := slices.Collect(algorithmNames); {
	case badTemplate:
		return signer.WithHint(fmt.Errorf("%q is not the ARN of a template of AWS Private CA", awsservice.Clip(c.config.TemplateARN)), "use the form "+templates+DefaultTemplate)
	case c.config.SigningAlgorithm != "" && !slices.Contains(known, c.config.SigningAlgorithm):
		return signer.WithHint(fmt.Errorf("the signing algorithm %q is unknown", awsservice.Clip(c.config.SigningAlgorithm)), "use one of: "+strings.Join(known, ", "))
	case c.config.Days < 0 || c.config.Days > maxDays:
		return fmt.Errorf("the validity of %d days is not between 1 and %d", c.config.Days, maxDays)
	case c.config.Timeout < 0:
		return fmt.Errorf("the timeout %v is negative", c.config.Timeout)
	case c.config.Session == nil:
		return errors.New("nothing obtains the session for AWS Private CA")
	}
	return nil
}

// endpoint returns the URL of the API.
//
// Source: endpoint rules of acm-pca in botocore.
func (c *CA) endpoint() (*url.URL, error) {
	fipsHost := "acm-pca-fips"
	if awsservice.PartitionOf(c.region).Name == "aws-us-gov" && !c.config.DualStack {
		fipsHost = "acm-pca" // the regular endpoint is the FIPS endpoint
	}
	return awsservice.Endpoint{
		Name: "endpoint of AWS Private CA", Field: "privateca.Config.Endpoint", Host: "acm-pca", FIPSHost: fipsHost, Region: c.region, Path: "/",
		Custom: c.config.Endpoint, FIPS: c.config.FIPS, DualStack: c.config.DualStack, Insecure: c.config.Insecure,
	}.URL()
}

// isWord reports whether s has only characters that the service model allows
// between the slashes of an ARN.
func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !awsservice.IsNameChar(r) })
}

// isRegion reports whether s can be a label of the host of an endpoint.
func isRegion(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && strings.Count(s, "-") >= 2
}

// algorithms maps the algorithm of a signature to its name in IssueCertificate.
// AWS Private CA makes no PSS signatures.
var algorithms = []struct {
	of   []x509.SignatureAlgorithm
	name string
}{
	{[]x509.SignatureAlgorithm{x509.ECDSAWithSHA256}, "SHA256WITHECDSA"},
	{[]x509.SignatureAlgorithm{x509.ECDSAWithSHA384}, "SHA384WITHECDSA"},
	{[]x509.SignatureAlgorithm{x509.ECDSAWithSHA512}, "SHA512WITHECDSA"},
	{[]x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA256WithRSAPSS}, "SHA256WITHRSA"},
	{[]x509.SignatureAlgorithm{x509.SHA384WithRSA, x509.SHA384WithRSAPSS}, "SHA384WITHRSA"},
	{[]x509.SignatureAlgorithm{x509.SHA512WithRSA, x509.SHA512WithRSAPSS}, "SHA512WITHRSA"},
}

func algorithmNames(yield func(string) bool) {
	for _, a := range algorithms {
		if !yield(a.name) {
			return
		}
	}
}

// signingAlgorithm returns the algorithm to ask for.
func (c *CA) signingAlgorithm(inUse *x509.Certificate) (string, error) {
	if c.config.SigningAlgorithm != "" {
		return c.config.SigningAlgorithm, nil
	}
	for _, a := range algorithms {
		if slices.Contains(a.of, inUse.SignatureAlgorithm) {
			return a.name, nil
		}
	}
	return "", signer.WithHint(fmt.Errorf("the certificate in use is signed by %s, which does not tell the key of the CA", certpath.SignatureName(inUse)),
		"set privateca.Config.SigningAlgorithm to the family of the key of the CA")
}

// days returns the validity to ask for.
func (c *CA) days(inUse *x509.Certificate) int {
	if c.config.Days > 0 {
		return c.config.Days
	}
	const day = 24 * time.Hour
	return int(min(max(inUse.NotAfter.Sub(inUse.NotBefore).Round(day)/day, 1), maxDays))
}
