package rolesanywhere

import (
	"strconv"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// CacheKey returns the [credentials.Key] of the credentials that a Client with
// cfg obtains. identity represents the certificate, for example by its hash.
// trust represents the servers that the transport trusts, for example by a CA
// bundle, so that credentials from an impostor are never used as the service's.
// The key depends on everything that determines the response, but not on
// options such as the timeout. The error wraps [ErrConfig].
func (cfg Config) CacheKey(identity, trust string) (string, error) {
	c := &Client{cfg: cfg}
	if err := c.init(); err != nil {
		return "", err
	}
	return credentials.Key(
		identity, trust, strconv.FormatBool(cfg.Insecure),
		cfg.TrustAnchorARN, cfg.ProfileARN, cfg.RoleARN,
		cfg.Duration.String(), cfg.SessionName,
		c.cfg.Region, c.endpoint.String(),
	), nil
}
