// Package awssdk gives credentials of IAM Roles Anywhere to the clients of the AWS
// SDK for Go v2. It is a module of its own, so that only programs that use this SDK
// depend on it.
//
// [FromSigner] makes a [Provider] of a key and a rolesanywhere.Config, [FromIdentity]
// of a key that is replaced while it is in use, and [New] of any credentials.Source,
// such as an assume.Client:
//
//	provider, err := awssdk.FromSigner(key, config)
//	…
//	client := s3.NewFromConfig(aws.Config{Region: "us-east-1", Credentials: provider})
//
// # Caches
//
// A Provider has a [credentials.Cache]. However many clients share the Provider, one
// session is created, and it is renewed before it expires, while its credentials are
// still in use. So a client needs no [aws.CredentialsCache]. LoadDefaultConfig of the
// SDK adds one nevertheless, and that does no harm; see [Provider.Retrieve].
//
// # Errors
//
// The errors of the Source remain reachable with errors.Is and errors.As in the errors
// that the methods of a client return: a *rolesanywhere.APIError,
// rolesanywhere.ErrUnreachable, the errors of package signer. Their text ends with the
// hint, because programs print errors of the SDK as they are. signer.Hint returns it
// alone.
package awssdk

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// ProviderName is the Source of the credentials of a [Provider].
const ProviderName = "Holdfast"

// minHold is how long the SDK may keep credentials that are due to be renewed.
const minHold = time.Minute

// A Provider provides the credentials of a [credentials.Source] to clients of the SDK.
// [New], [FromSigner] and [FromIdentity] make one; the zero value has no Source. It is
// safe for concurrent use.
type Provider struct{ cache *credentials.Cache }

var (
	_ aws.CredentialsProvider                     = (*Provider)(nil)
	_ aws.AdjustExpiresByCredentialsCacheStrategy = (*Provider)(nil)
)

// New returns a Provider for source, which must not be nil. If source is a
// [*credentials.Cache], the Provider uses it, with its settings and its clock.
// Otherwise it puts one with default settings before source.
func New(source credentials.Source) *Provider {
	if cache, ok := source.(*credentials.Cache); ok {
		return &Provider{cache}
	}
	return &Provider{&credentials.Cache{Source: source}}
}

// FromSigner returns a Provider that creates sessions with key, which it borrows: the
// caller closes key after the last use of the Provider. cfg.Signer must be nil.
// cfg.Now and cfg.Logger are also those of the cache. The error is that of
// [rolesanywhere.New]. No request is sent.
func FromSigner(key signer.Signer, cfg rolesanywhere.Config) (*Provider, error) {
	if cfg.Signer != nil {
		return nil, fmt.Errorf("%w: the key is given twice, also as Config.Signer", rolesanywhere.ErrConfig)
	}
	cfg.Signer = key
	client, err := rolesanywhere.New(cfg)
	return cached(client, cfg, err)
}

// FromIdentity is like [FromSigner] with the current key of identity.
func FromIdentity(identity *rotate.Identity, cfg rolesanywhere.Config) (*Provider, error) {
	client, err := rolesanywhere.NewRotating(cfg, identity)
	return cached(client, cfg, err)
}

func cached(client *rolesanywhere.Client, cfg rolesanywhere.Config, err error) (*Provider, error) {
	if err != nil {
		return nil, err
	}
	return New(&credentials.Cache{Source: client, Now: cfg.Now, Logger: cfg.Logger}), nil
}

// Cache returns the cache of p. Its method Run renews credentials even while no
// client asks for them, and Status tells how that goes.
func (p *Provider) Cache() *credentials.Cache { return p.cache }

// Retrieve implements [aws.CredentialsProvider]. It waits, at most until ctx ends, but
// only if there are no valid credentials. It never returns expired ones.
//
// Expires is when a cache of the SDK has to ask again, which is before the credentials
// expire: when p's cache renews them, but not within the next minute, unless they expire
// before. From then on, p's cache renews them while it still returns them, so that no
// client waits.
func (p *Provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := p.cache.Credentials(ctx)
	if err != nil {
		return aws.Credentials{Source: ProviderName}, &failure{err}
	}
	return aws.Credentials{
		AccessKeyID:     c.AccessKeyID,
		SecretAccessKey: c.SecretAccessKey,
		SessionToken:    c.SessionToken,
		Source:          ProviderName,
		CanExpire:       true,
		Expires:         p.askAgain(c.Expires),
		AccountID:       c.AccountID,
	}, nil
}

func (p *Provider) askAgain(expires time.Time) time.Time {
	now := time.Now
	if p.cache.Now != nil {
		now = p.cache.Now
	}
	early := min(expires.Sub(p.cache.Status().Next), expires.Sub(now())-minHold)
	return expires.Add(-max(early, 0))
}

// AdjustExpiresBy implements [aws.AdjustExpiresByCredentialsCacheStrategy]. It returns
// c as it is: Expires is early already, and to ask still earlier changes nothing,
// because p's cache decides when it renews credentials. Set its Window instead.
func (p *Provider) AdjustExpiresBy(c aws.Credentials, _ time.Duration) (aws.Credentials, error) {
	return c, nil
}

// A failure is an error of the Source.
type failure struct{ error }

func (f *failure) Error() string {
	if hint := signer.Hint(f.error); hint != "" {
		return fmt.Sprintf("%v; hint: %s", f.error, hint)
	}
	return f.error.Error()
}

func (f *failure) Unwrap() error { return f.error }

// RetryableError tells the SDK not to try again. The Source has done that, and for a
// while the cache returns the same error at once.
func (f *failure) RetryableError() bool { return false }
