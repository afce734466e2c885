package rolesanywhere

import (
	"strconv"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// CacheKey returns the [credentials.Key] of the credentials that a Client with
// cfg gets. identity stands for the certificate, such as the hash of it, and
// trust for whom the transport believes, such as a CA bundle: what an impostor
// gave must not be taken for the service's. All that decides the answer makes
// another key; how it is obtained, such as the timeout, does not. The error
// wraps [ErrConfig].
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
