package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/flags"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
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
		p.reachBegan = p.Now()
		p.reached, p.reachErr = p.config.Reach(ctx)
		p.reachEnded = p.Now()
	})
}

// checkClock compares the local clock with that of the service.
func checkClock(ctx context.Context, p *patient) []result {
	p.reach(ctx)
	switch {
	case p.reachErr != nil:
		return []result{skip("%s; see network", needReached.why)}
	case p.reached.Date.IsZero():
		return []result{warn("%s sends no time, so the clock was not compared", p.reached.URL.Host)}
	}
	skew := p.skew()
	text := fmt.Sprintf("this machine's clock is %s %s that of %s", span(skew.Abs()), direction(skew), p.reached.URL.Host)
	switch {
	case skew.Abs() >= skewFault:
		return []result{failed(front.ExitOther, "%s; AWS allows %d minutes", text, skewFault/time.Minute).because("set the clock").paste(clockCommand())}
	case skew.Abs() >= skewWarning:
		return []result{warn("%s; AWS allows %d minutes", text, skewFault/time.Minute).because("set the clock").paste(clockCommand())}
	}
	return []result{fine("this machine's clock agrees with that of %s", p.reached.URL.Host)}
}

// skew is the time of the service minus the local time, when the service was reached.
func (p *patient) skew() time.Duration {
	// The time of the response is between the two local times. Its fraction of a
	// second is cut off.
	if ahead := p.reached.Date.Sub(p.reachEnded); ahead > 0 {
		return ahead
	}
	return min(0, p.reached.Date.Add(time.Second).Sub(p.reachBegan))
}

// clockAgrees reports whether the local clock is known to be right.
func (p *patient) clockAgrees(ctx context.Context) bool {
	if !p.online || !p.hasConfig {
		return false
	}
	p.reach(ctx)
	return p.reachErr == nil && !p.reached.Date.IsZero() && p.skew().Abs() < skewWarning
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
		if endpoint, variable, err := flags.EndpointFromEnvironment(p.App, "ROLESANYWHERE"); err == nil && variable != "" && endpoint == p.config.Endpoint {
			r.Seen += " (the endpoint is from " + variable + ")"
			return []result{r.with("unset", variable)}
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
				return []result{r.paste(p.downloadPolicy(c.RoleName(), "trust.json"))}
			case strings.Contains(api.Message, "Untrusted") && p.trustAnchor == "":
				name := newFile("anchor.pem")
				return []result{r.paste(command(getAnchor(c)...) + " >" + name + " && " + p.again("--trust-anchor", name))}
			}
			if r, found := missingResource(r, api, c); found {
				return []result{r}
			}
			return []result{r.with(asAdmin("aws", "cloudtrail", "lookup-events", "--region", c.TrustAnchorRegion(),
				"--lookup-attributes", "AttributeKey=EventName,AttributeValue=CreateSession", "--max-results", "5")...)}
		}
		return []result{r.paste(p.again("--debug"))}
	}
	return []result{fine("%s created a session of %s, valid until %s", p.serverName(), c.RoleARN, p.session.Expires.UTC().Format(time.RFC3339))}
}

// serverName returns AWS, or the host that answers if that is not one of AWS.
func (p *patient) serverName() string {
	if p.config.Endpoint == "" || ofAWS(p.config.Endpoint) || p.reached.URL == nil {
		return "AWS"
	}
	return p.reached.URL.Host
}

// downloadPolicy returns the command that stores the trust policy of a role in a new
// file, and compares the certificate with it.
func (p *patient) downloadPolicy(role, name string) string {
	name = newFile(name)
	return command(getPolicy(role)...) + " >" + name + " && " + p.again("--trust-policy", name)
}

// missingResource returns the fault of an ARN that AWS does not know, if the
// response names it.
func missingResource(r result, api *rolesanywhere.APIError, c rolesanywhere.Config) (result, bool) {
	for _, resource := range []struct {
		arn, what, list string
	}{
		{c.TrustAnchorARN, "trust anchor", "rolesanywhere list-trust-anchors --query trustAnchors[].trustAnchorArn"},
		{c.ProfileARN, "profile", "rolesanywhere list-profiles --query profiles[].profileArn"},
		{c.RoleARN, "role", "iam list-roles --query Roles[].Arn"},
	} {
		if api.StatusCode != http.StatusNotFound || !strings.Contains(api.Message, resource.arn) {
			continue
		}
		words := append([]string{"aws"}, strings.Fields(resource.list)...)
		if words[1] == "rolesanywhere" {
			words = append(words, "--region", c.TrustAnchorRegion())
		}
		return r.because("the " + resource.what + " " + resource.arn + " does not exist; IDs are case-sensitive").with(asAdmin(words...)...), true
	}
	return r, false
}
