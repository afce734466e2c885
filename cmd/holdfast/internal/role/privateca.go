package role

import (
	"context"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/privateca"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// privateWay renews with AWS Private CA, which the role asks with its own session:
// that of Roles Anywhere, also if the role assumes a second one.
func privateWay(s Setup, a front.App) (renew.Way, error) {
	r, config := s.Renewal, s.Config
	if r.CAARN == "" {
		return nil, signer.WithHint(front.Usagef("the way %q needs ca_arn", r.Way), "set --ca-arn, or ca_arn in [role.renew]")
	}
	if config.RoleARN == "" {
		return nil, signer.WithHint(front.Usagef("the way %q needs a session, but no role is given", r.Way),
			"set --trust-anchor-arn, --profile-arn and --role-arn, or name a file with a role with --config")
	}
	regional := r.CAURL == ""
	ca, err := privateca.New(privateca.Config{
		CAARN: r.CAARN, TemplateARN: r.CATemplate, SigningAlgorithm: r.CAAlgorithm, Days: r.CADays,
		Endpoint: r.CAURL, FIPS: regional && config.FIPS, DualStack: regional && config.DualStack, Insecure: config.Insecure,
		Transport: config.Transport, UserAgent: config.UserAgent, Now: a.Now, Logger: config.Logger,
		Session: func(ctx context.Context, inUse signer.Signer) (credentials.Credentials, error) {
			config := config
			config.Signer = inUse
			client, err := rolesanywhere.New(config)
			if err != nil {
				return credentials.Credentials{}, err
			}
			return client.Credentials(ctx)
		},
	})
	if err != nil {
		return nil, &front.UsageError{Err: err}
	}
	return ca, nil
}
