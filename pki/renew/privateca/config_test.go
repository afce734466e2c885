package privateca

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		partition, region       string
		plain, fips, dual, both string
	}{
		{"aws", "eu-west-1", "acm-pca.eu-west-1.amazonaws.com", "acm-pca-fips.eu-west-1.amazonaws.com", "acm-pca.eu-west-1.api.aws", "acm-pca-fips.eu-west-1.api.aws"},
		{"aws-us-gov", "us-gov-west-1", "acm-pca.us-gov-west-1.amazonaws.com", "acm-pca.us-gov-west-1.amazonaws.com", "acm-pca.us-gov-west-1.api.aws", "acm-pca-fips.us-gov-west-1.api.aws"},
		{"aws-cn", "cn-north-1", "acm-pca.cn-north-1.amazonaws.com.cn", "acm-pca-fips.cn-north-1.amazonaws.com.cn", "acm-pca.cn-north-1.api.amazonwebservices.com.cn", "acm-pca-fips.cn-north-1.api.amazonwebservices.com.cn"},
	} {
		for i, want := range []string{c.plain, c.fips, c.dual, c.both} {
			ca, err := New(Config{CAARN: "arn:" + c.partition + ":acm-pca:" + c.region + ":111122223333:certificate-authority/x", Session: lend, FIPS: i%2 == 1, DualStack: i >= 2})
			if err != nil {
				t.Fatal(err)
			}
			if got := ca.server.URL.String(); got != "https://"+want+"/" {
				t.Errorf("%s, want %s", got, want)
			}
			if want := "arn:" + c.partition + ":acm-pca:::template/" + DefaultTemplate; ca.config.TemplateARN != want {
				t.Errorf("%s, want %s", ca.config.TemplateARN, want)
			}
		}
	}
}

func TestBadConfigs(t *testing.T) {
	good := Config{CAARN: testCA, Session: lend}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no ARN":                   func(c *Config) { c.CAARN = "" },
		"a role":                   func(c *Config) { c.CAARN = "arn:aws:iam::111122223333:role/app" },
		"a certificate":            func(c *Config) { c.CAARN = testCert },
		"another partition":        func(c *Config) { c.CAARN = strings.Replace(testCA, "aws", "aws-cn", 1) },
		"no region":                func(c *Config) { c.CAARN = strings.Replace(testCA, "eu-west-1", "", 1) },
		"a region that is a host":  func(c *Config) { c.CAARN = strings.Replace(testCA, "eu-west-1", "evil.example.com/eu-west-1", 1) },
		"an account of letters":    func(c *Config) { c.CAARN = strings.Replace(testCA, "111122223333", "11112222333x", 1) },
		"control characters":       func(c *Config) { c.CAARN = testCA + "\x1b" },
		"a long ARN":               func(c *Config) { c.CAARN = testCA + strings.Repeat("x", 200) },
		"a template without ARN":   func(c *Config) { c.TemplateARN = DefaultTemplate },
		"a template elsewhere":     func(c *Config) { c.TemplateARN = "arn:aws-cn:acm-pca:::template/" + DefaultTemplate },
		"a template without name":  func(c *Config) { c.TemplateARN = "arn:aws:acm-pca:::template/" },
		"SHA-1":                    func(c *Config) { c.SigningAlgorithm = "SHA1WITHRSA" },
		"negative days":            func(c *Config) { c.Days = -1 },
		"too many days":            func(c *Config) { c.Days = maxDays + 1 },
		"negative timeout":         func(c *Config) { c.Timeout = -1 },
		"no session":               func(c *Config) { c.Session = nil },
		"plain HTTP":               func(c *Config) { c.Endpoint = "http://ca.example.com" },
		"a password":               func(c *Config) { c.Endpoint = "https://me:secret@ca.example.com" },
		"a path":                   func(c *Config) { c.Endpoint = "https://ca.example.com/x" },
		"an endpoint and FIPS":     func(c *Config) { c.Endpoint, c.FIPS = "https://ca.example.com", true },
		"no dual stack in the iso": func(c *Config) { c.CAARN, c.DualStack = isoCA, true },
	} {
		config := good
		change(&config)
		if _, err := New(config); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

const isoCA = "arn:aws-iso:acm-pca:us-iso-east-1:111122223333:certificate-authority/x"

// The algorithm and the days come from the certificate in use, unless they are set.
func TestDefaults(t *testing.T) {
	ca, err := New(Config{CAARN: testCA, Session: lend})
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, want := range map[x509.SignatureAlgorithm]string{
		x509.ECDSAWithSHA384: "SHA384WITHECDSA", x509.SHA256WithRSA: "SHA256WITHRSA", x509.SHA512WithRSAPSS: "SHA512WITHRSA", x509.PureEd25519: "",
	} {
		if got, err := ca.signingAlgorithm(&x509.Certificate{SignatureAlgorithm: algorithm}); got != want || (err == nil) != (want != "") {
			t.Errorf("%v: %q, %v", algorithm, got, err)
		}
	}
	now := time.Now()
	for life, want := range map[time.Duration]int{time.Minute: 1, 25 * time.Hour: 1, 37 * time.Hour: 2, 7*24*time.Hour + time.Hour: 7, 90 * 24 * time.Hour: 90, 200 * 365 * 24 * time.Hour: maxDays} {
		if got := ca.days(&x509.Certificate{NotBefore: now, NotAfter: now.Add(life)}); got != want {
			t.Errorf("%v: %d days, want %d", life, got, want)
		}
	}
	set, err := New(Config{CAARN: testCA, Session: lend, SigningAlgorithm: "SHA512WITHRSA", Days: 3})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := set.signingAlgorithm(&x509.Certificate{SignatureAlgorithm: x509.PureEd25519}); got != "SHA512WITHRSA" || err != nil || set.days(&x509.Certificate{}) != 3 {
		t.Errorf("%q, %v", got, err)
	}
}

// Without a session nothing is sent.
func TestSessionErrors(t *testing.T) {
	device := errors.New("the PIN is wrong")
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"refused":     {&rolesanywhere.APIError{StatusCode: 403, Code: "AccessDeniedException"}, renew.ErrRejected},
		"throttled":   {&rolesanywhere.APIError{StatusCode: 429, Code: "ThrottlingException"}, renew.ErrUnreachable},
		"broken":      {&rolesanywhere.APIError{StatusCode: 503, Code: "ServiceUnavailableException"}, renew.ErrUnreachable},
		"unreachable": {fmt.Errorf("%w: no route", rolesanywhere.ErrUnreachable), renew.ErrUnreachable},
		"expired":     {&rolesanywhere.CertificateError{Err: errors.New("it has expired")}, renew.ErrRejected},
		"device":      {device, device},
		"interrupted": {context.Canceled, context.Canceled},
	} {
		s := newSite(t, Config{Session: func(context.Context, signer.Signer) (credentials.Credentials, error) {
			return credentials.Credentials{}, c.err
		}}, func(http.ResponseWriter, *http.Request, string, []byte) { t.Errorf("%s: a request was sent", name) })
		_, err := s.ca.Renew(t.Context(), s.request)
		for _, class := range []error{renew.ErrRejected, renew.ErrUnreachable, device, context.Canceled} {
			if errors.Is(err, class) != (class == c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A server that hangs, and one that is gone, are unreachable; a caller that gives up
// is told so.
func TestNetwork(t *testing.T) {
	s := newSite(t, Config{Timeout: 50 * time.Millisecond}, func(_ http.ResponseWriter, r *http.Request, _ string, _ []byte) { <-r.Context().Done() })
	if _, err := s.ca.Renew(t.Context(), s.request); !errors.Is(err, renew.ErrUnreachable) || !strings.Contains(err.Error(), "time limit of 50ms") || signer.Hint(err) == "" {
		t.Errorf("%v; hint: %s", err, signer.Hint(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	s = newSite(t, Config{}, func(_ http.ResponseWriter, r *http.Request, _ string, _ []byte) {
		cancel()
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // an empty answer could still arrive
	})
	if _, err := s.ca.Renew(ctx, s.request); !errors.Is(err, context.Canceled) || errors.Is(err, renew.ErrUnreachable) {
		t.Error(err)
	}
	gone, err := New(Config{CAARN: testCA, Endpoint: "http://127.0.0.1:1", Session: lend})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gone.Renew(t.Context(), s.request); !errors.Is(err, renew.ErrUnreachable) || signer.Hint(err) == "" {
		t.Error(err)
	}
}

// With a wrong clock, the request is signed once more with the time of AWS.
func TestClock(t *testing.T) {
	var s *site
	for right, want := range map[bool]error{true: nil, false: renew.ErrRejected} {
		calls := 0
		s = newSite(t, Config{Now: func() time.Time { return time.Now().Add(-time.Hour) }}, func(w http.ResponseWriter, r *http.Request, action string, _ []byte) {
			sent, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
			switch calls++; {
			case err != nil:
				t.Error(err)
			case !right, time.Since(sent) > 5*time.Minute:
				w.WriteHeader(400)
				fmt.Fprint(w, refusal("InvalidSignatureException", "Signature expired"))
			case action == "IssueCertificate":
				fmt.Fprint(w, issued)
			default:
				fmt.Fprint(w, got(pemOf(s.chain[0]), ""))
			}
		})
		_, err := s.ca.Renew(t.Context(), s.request)
		if !errors.Is(err, want) || want != nil && (calls != 2 || !strings.Contains(signer.Hint(err), "clock is off by ")) {
			t.Errorf("%v after %d calls; hint: %s", err, calls, signer.Hint(err))
		}
	}
}
