package doctor

import (
	"context"
	"net/url"
	"strings"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/awsconfig"
	"github.com/holdfast-dev/holdfast/rolesanywhere/assume"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

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
			if account := accountOf(p.second.RoleARN); r.Hint != "" && account != accountOf(c.RoleARN) {
				r.Hint += "; ADMIN is a profile of an administrator of account " + account
			}
			return []result{r.paste(p.downloadPolicy(role, "second.json"))}
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
