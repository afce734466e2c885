package rolesanywhere

import (
	"context"
	"fmt"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// NewRotating returns a Client that signs with the current key of identity.
// Each call of [Client.Credentials] uses the same key until it returns. cfg is
// as for [New], but its Signer must be nil. Use [Config.CheckSigner] as the
// Check of identity, so that an unusable key does not replace a working one.
// The Client borrows identity; the caller closes it after the last use of the
// Client.
//
// Credentials also returns the errors of [rotate.Identity.Acquire]. Its timeout
// starts when the key has been acquired.
func NewRotating(cfg Config, identity *rotate.Identity) (*Client, error) {
	switch {
	case identity == nil:
		return nil, fmt.Errorf("%w: no identity", ErrConfig)
	case cfg.Signer != nil:
		return nil, fmt.Errorf("%w: both a signer and an identity are given", ErrConfig)
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	c.identity = identity
	return c, nil
}

// rotating is Credentials with the current key of c.identity.
func (c *Client) rotating(ctx context.Context) (credentials.Credentials, error) {
	key, err := c.identity.Acquire(ctx)
	if err != nil {
		return credentials.Credentials{}, err
	}
	defer key.Close()
	leased := *c
	leased.identity, leased.cfg.Signer = nil, key
	return leased.Credentials(ctx)
}
