package rolesanywhere

import (
	"context"
	"strings"

	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// temporary
type RotatingClient struct {
	cfg Config
	id  *rotate.Identity
}

func NewRotating(cfg Config, id *rotate.Identity) (*RotatingClient, error) {
	return &RotatingClient{cfg, id}, cfg.Check()
}

func (c *RotatingClient) Credentials(ctx context.Context) (credentials.Credentials, error) {
	key, err := c.id.Acquire(ctx)
	if err != nil {
		return credentials.Credentials{}, err
	}
	defer key.Close()
	cfg := c.cfg
	cfg.Signer = key
	cl, err := New(cfg)
	if err != nil {
		return credentials.Credentials{}, err
	}
	return cl.Credentials(ctx)
}

func (cfg Config) CheckSigner(s signer.Signer) error {
	if err := CheckChain(s.Chain(), cfg.Now()); err != nil {
		return &CertificateError{Name: cfg.CertificateName, Err: err}
	}
	cfg.Signer = s
	_, err := New(cfg)
	return err
}

func (cfg Config) SigningRegion() string {
	if cfg.Region != "" {
		return cfg.Region
	}
	return strings.Split(cfg.TrustAnchorARN, ":")[3]
}

func (cfg Config) RoleName() string {
	return cfg.RoleARN[strings.LastIndexByte(cfg.RoleARN, '/')+1:]
}
