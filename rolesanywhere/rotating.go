package rolesanywhere

import (
	"context"
	"fmt"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// NewRotating returns a Client that signs with the key of identity that is in
// use when [Client.Credentials] is called, and with that alone until the call
// returns. cfg is as for [New], but its Signer is nil. Give identity
// [Config.CheckSigner] as its check, so that no key replaces one that works and
// cannot do so itself. It stays the caller's, who closes it after the last use
// of the Client.
//
// Errors of Credentials are also those of [rotate.Identity.Acquire]; the timeout
// counts from when a key is there.
func NewRotating(cfg Config, identity *rotate.Identity) (*Client, error) {
	switch {
	case identity == nil:
		return nil, fmt.Errorf("%w: no identity", ErrConfig)
	case cfg.Signer != nil:
		return nil, fmt.Errorf("%w: a signer is given besides the identity", ErrConfig)
	}
	c, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	c.identity = identity
	return c, nil
}

// rotating is Credentials with the key that is in use.
func (c *Client) rotating(ctx context.Context) (credentials.Credentials, error) {
	key, err := c.identity.Acquire(ctx)
	if err != nil {
		return credentials.Credentials{}, err
	}
	defer key.Close()
	with := *c
	with.identity, with.cfg.Signer = nil, key
	return with.Credentials(ctx)
}
