package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/awsconfig"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/assume"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// The service tolerates a difference of the clocks of some minutes.
const (
	skewWarning = time.Minute
	skewFault   = 5 * time.Minute
)

// timeout is the time limit for the device and for each request.
func (p *patient) timeout() time.Duration {
	if p.config.Timeout > 0 {
		return p.config.Timeout
	}
	return rolesanywhere.DefaultTimeout
}

// reach sends one request without a signature to the endpoint.
func (p *patient) reach(ctx context.Context) {
	p.reachOnce.Do(func() {
		ctx, cancel := await.Limit(ctx, p.timeout())
		defer cancel()
		p.reached, p.reachErr = p.config.Reach(ctx)
	})
}

// checkClock compares the local clock with that of the service.
func checkClock(ctx context.Context, p *patient) []result {
	before := p.Now()
	p.reach(ctx)
	switch {
	case p.reachErr != nil:
		return []result{skip("%s; see network", needReached.why)}
	case p.reached.Date.IsZero():
		return []result{warn("%s sends no time, so the clock was not compared", p.reached.URL.Host)}
	}
	// The time of the response is between before and now. Its fraction of a
	// second is cut off.
	skew := min(0, p.reached.Date.Add(time.Second).Sub(before))
	if ahead := p.reached.Date.Sub(p.Now()); ahead > 0 {
		skew = ahead
	}
	text := fmt.Sprintf("this machine's clock is %s %s that of %s", span(skew.Abs()), direction(skew), p.reached.URL.Host)
	switch {
	case skew.Abs() >= skewFault:
		return []result{failed(front.ExitOther, "%s; AWS allows %d minutes", text, skewFault/time.Minute).because("set the clock").paste(clockCommand())}
	case skew.Abs() >= skewWarning:
		return []result{warn("%s; AWS allows %d minutes", text, skewFault/time.Minute).because("set the clock").paste(clockCommand())}
	}
	return []result{fine("this machine's clock agrees with that of %s", p.reached.URL.Host)}
}

// span is a duration in words.
func span(d time.Duration) string {
	if n := d.Round(time.Minute) / time.Minute; d >= 2*time.Minute {
		return fmt.Sprintf("%d minutes", n)
	}
	return fmt.Sprintf("%d seconds", d.Round(time.Second)/time.Second)
}

// direction is that of the local clock, if skew is the other's minus the local time.
func direction(skew time.Duration) string {
	if skew > 0 {
		return "behind"
	}
	return "ahead of"
}

// clockCommand returns the command that sets the clock.
func clockCommand() string {
	switch runtime.GOOS {
	case "windows":
		return "w32tm /resync"
	case "darwin":
		return "sudo sntp -sS time.apple.com"
	}
	return "sudo timedatectl set-ntp true"
}

// checkNetwork shows how the service is reached, and who answers.
func checkNetwork(ctx context.Context, p *patient) (results []result) {
	p.reach(ctx)
	u := p.reached.URL
	if u == nil { // the request was not sent
		return []result{failure(p.reachErr).paste(p.again())}
	}
	proxy := p.proxy()
	if p.reachErr != nil {
		r := failure(p.reachErr)
		if proxy != "" {
			r.Seen += "; the proxy is " + proxy
		}
		line := []string{"curl", "-vI", "--max-time", "10", "https://" + u.Host}
		if u.Scheme == "http" {
			line[4] = "http://" + u.Host
		}
		return []result{r.with(line...)}
	}
	text := "connects to " + u.Host
	if p.reached.Server != u.Host {
		text += " at " + p.reached.Server
	}
	if len(p.reached.Addresses) > 1 {
		text += fmt.Sprintf(" (%d addresses)", len(p.reached.Addresses))
	}
	if proxy != "" {
		text += ", through the proxy " + proxy
	}
	state := p.reached.TLS
	if state == nil {
		return []result{fine("%s without TLS", text)}
	}
	issuer := state.PeerCertificates[0].Issuer
	text += fmt.Sprintf("; its certificate was issued by %q", issuer)
	if p.config.Insecure {
		return []result{warn("%s, and was not verified, because --no-verify-ssl is set", text)}
	}
	if strings.HasSuffix(u.Hostname(), ".amazonaws.com") && !strings.Contains(strings.Join(issuer.Organization, " "), "Amazon") {
		return []result{warn("%s, and not by Amazon", text).because("a proxy in between reads the credentials; ask its operator to let this host pass")}
	}
	return []result{fine("%s", text)}
}

// proxy returns the host of the proxy for the service, or "".
func (p *patient) proxy() string {
	if p.connection.NoProxy() {
		return ""
	}
	r, err := http.NewRequest(http.MethodHead, p.reached.URL.String(), nil)
	if err != nil {
		return ""
	}
	proxy, err := http.ProxyFromEnvironment(r)
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.Host
}

// checkSession creates one session.
func checkSession(ctx context.Context, p *patient) []result {
	if len(p.badRules) > 0 {
		return []result{skip("Roles Anywhere does not accept the certificate; see rules")}
	}
	c := p.config
	c.Signer, c.CertificateName, c.MaxAttempts = p.signer, p.key.CertificateName(), 1
	p.sessionOf = c
	client, err := rolesanywhere.New(c)
	if err == nil {
		p.session, err = front.InterruptibleValue(ctx, p.key.Name(), func() (credentials.Credentials, error) { return client.Credentials(ctx) })
	}
	if errors.Is(err, errHeld) {
		return []result{{State: skipped, Seen: "the signature needs the " + p.held + ", which is not used without --use-pin", Command: p.again("--use-pin")}}
	}
	if err != nil {
		r := failure(err)
		var api *rolesanywhere.APIError
		if errors.As(err, &api) {
			switch {
			case strings.Contains(api.Message, "Unable to assume role"):
				return []result{r.paste(command(getPolicy(c.RoleName())...) + " >trust.json && " + p.again("--trust-policy", "trust.json"))}
			case strings.Contains(api.Message, "Untrusted") && p.trustAnchor == "":
				return []result{r.paste(command(getAnchor(c)...) + " >anchor.pem && " + p.again("--trust-anchor", "anchor.pem"))}
			}
			return []result{r.with("aws", "cloudtrail", "lookup-events", "--region", c.TrustAnchorRegion(),
				"--lookup-attributes", "AttributeKey=EventName,AttributeValue=CreateSession", "--max-results", "5")}
		}
		return []result{r.paste(p.again("--debug"))}
	}
	return []result{fine("AWS created a session of %s, valid until %s", c.RoleARN, p.session.Expires.UTC().Format(time.RFC3339))}
}

// checkIdentity asks STS who the caller is with the credentials, and with those
// of the second role, if there is one.
func checkIdentity(ctx context.Context, p *patient) []result {
	c := p.config
	if c.Endpoint != "" && p.second.Endpoint == "" && !ofAWS(c.Endpoint) {
		if p.second.RoleARN != "" {
			return []result{failed(front.ExitUsage, "--endpoint is not that of AWS, but the request for the second role goes to AWS").
				because("give --sts-endpoint, too").paste(p.again("--sts-endpoint", c.Endpoint))}
		}
		return []result{skip("needs --sts-endpoint, because --endpoint is not that of AWS")}
	}
	final, err := p.session, error(nil)
	if p.second.RoleARN != "" {
		source, sourceErr := p.second.Source(c, fixed(p.session))
		if err = sourceErr; err == nil {
			final, err = source.Credentials(ctx)
		}
	}
	var identity assume.Identity
	if err == nil {
		identity, err = assume.CallerIdentity(ctx, p.second.Connection(c), final)
	}
	if err != nil {
		r := failure(err)
		if p.second.RoleARN != "" {
			role := p.second.RoleARN[strings.LastIndex(p.second.RoleARN, "/")+1:]
			r.Seen = "second role: " + r.Seen
			return []result{r.paste(command(getPolicy(role)...) + " >second.json && " + p.again("--trust-policy", "second.json"))}
		}
		return []result{r.paste(p.again("--debug"))}
	}
	results := []result{fine("%s", identity.ARN)}
	if n := len(p.aws.chain); n > 1 { // the client assumes these roles itself
		first := p.aws.chain[0]
		results = append(results, skip("doctor does not assume %s of profile %q", first.Get(awsconfig.RoleARN), first.Name).
			with("aws", "sts", "get-caller-identity", "--profile", first.Name))
	}
	return results
}

// ofAWS reports whether an endpoint is one of AWS, such as that of a VPC.
func ofAWS(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	for _, domain := range []string{".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn"} {
		if strings.HasSuffix(strings.ToLower(u.Hostname()), domain) {
			return true
		}
	}
	return false
}

// fixed is a source of credentials that exist.
type fixed credentials.Credentials

// Credentials implements [credentials.Source].
func (f fixed) Credentials(context.Context) (credentials.Credentials, error) {
	return credentials.Credentials(f), nil
}
