// Package assume obtains the credentials of a role with the credentials of
// another role (role chaining). It calls AssumeRole of AWS STS.
//
// [New] accepts a [Config]: a credentials.Source, such as a
// rolesanywhere.Client, and the ARN of the role to assume. A [Client] is itself
// a credentials.Source: each call of [Client.Credentials] obtains credentials
// from the first Source and assumes the role with them.
//
// AWS limits such a session to one hour ([MaxDuration]), whatever the maximum
// session duration of the role is. Sessions of IAM Roles Anywhere have a source
// identity, which AWS passes on to the session of the role. So the trust policy
// of the role must allow sts:SetSourceIdentity in addition to sts:AssumeRole,
// and sts:TagSession if the session has tags.
//
// # Errors
//
// The errors are those of the first Source and of package rolesanywhere: an
// error in a Config wraps rolesanywhere.ErrConfig, a refusal by STS is a
// *rolesanywhere.APIError, and an error about a missing or invalid response
// wraps rolesanywhere.ErrUnreachable. Most errors have a hint; see signer.Hint.
// Errors never contain secrets.
//
// # Time
//
// Transient errors, such as throttling, are retried within Config.Timeout, with
// at most Config.MaxAttempts attempts. If a response shows that the local clock
// is wrong, the request is signed once more with the time of STS.
package assume

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// The limits of a session's duration. AWS limits the sessions of roles that are
// assumed with the credentials of another role to one hour.
const (
	MinDuration = 15 * time.Minute
	MaxDuration = time.Hour
)

// DefaultSessionName is the role session name of a Config without one.
const DefaultSessionName = "holdfast"

// A Config describes which role to assume, and at which endpoint.
type Config struct {
	Source credentials.Source // borrowed; its credentials sign the requests

	RoleARN     string
	SessionName string        // "": DefaultSessionName
	Duration    time.Duration // session duration, whole seconds; 0: one hour
	ExternalID  string        // "": none; some trust policies require one

	// Tags are the session tags by their keys, at most 50. Keys that differ
	// only in case are the same key for AWS.
	Tags map[string]string
	// TransitiveTagKeys are the keys of Tags that AWS also passes on to the
	// sessions of roles that are assumed with the new credentials.
	TransitiveTagKeys []string
	// SourceIdentity is the source identity of the session. AWS refuses it
	// if the credentials of Source already have another one, as those of
	// IAM Roles Anywhere do. "": pass on the one of Source.
	SourceIdentity string

	Region    string // of the STS endpoint
	Endpoint  string // a URL; "": the region's endpoint
	FIPS      bool   // use the FIPS endpoint
	DualStack bool   // use the dual-stack endpoint
	// Insecure allows plain HTTP to hosts other than the local one.
	Insecure bool

	Transport http.RoundTripper // nil: rolesanywhere.NewTransport with its defaults
	Timeout   time.Duration     // of AssumeRole, without Source; 0: rolesanywhere.DefaultTimeout
	// MaxAttempts is the maximum number of requests. Fewer are sent if the
	// Timeout leaves no time for them. 0:
	// rolesanywhere.DefaultMaxAttempts.
	MaxAttempts int
	UserAgent   string           // "": "Holdfast"
	Now         func() time.Time // nil: time.Now
	Logger      *slog.Logger     // nil: discard; the Client never logs secrets
}

// A Client assumes a role. It is a [credentials.Source] and safe for concurrent
// use if its Source is.
type Client struct {
	cfg      Config
	account  string // of the role
	endpoint *url.URL
	pause    func(ctx context.Context, d time.Duration) error
}

var _ credentials.Source = (*Client)(nil)

// New checks cfg and returns a Client for it. It sends no request. It keeps
// references to Tags and TransitiveTagKeys, which must not be changed.
func New(cfg Config) (*Client, error) {
	if cfg.Source == nil {
		return nil, fmt.Errorf("%w: no source of credentials", rolesanywhere.ErrConfig)
	}
	c, err := checked(cfg)
	if err != nil {
		return nil, err
	}
	return c, c.setDefaults()
}

// setDefaults sets the fields of the connection that are not set.
func (c *Client) setDefaults() (err error) {
	if c.cfg.Transport == nil {
		if c.cfg.Transport, err = rolesanywhere.NewTransport(rolesanywhere.TransportConfig{}); err != nil {
			return err
		}
	}
	if c.cfg.Timeout == 0 {
		c.cfg.Timeout = rolesanywhere.DefaultTimeout
	}
	if c.cfg.MaxAttempts == 0 {
		c.cfg.MaxAttempts = rolesanywhere.DefaultMaxAttempts
	}
	if c.cfg.UserAgent == "" {
		c.cfg.UserAgent = "Holdfast"
	}
	if c.cfg.Now == nil {
		c.cfg.Now = time.Now
	}
	c.cfg.Logger = logging.OrDiscard(c.cfg.Logger)
	return nil
}

// Credentials obtains credentials from the Source and assumes the role with
// them. It retries transient errors within the timeout. See the package comment
// for the errors.
func (c *Client) Credentials(ctx context.Context) (credentials.Credentials, error) {
	none := credentials.Credentials{}
	source, err := c.cfg.Source.Credentials(ctx)
	if err != nil {
		return none, err
	}
	ctx, cancel := await.Limit(ctx, c.cfg.Timeout)
	defer cancel()
	repeat := awsservice.Repeat{MaxAttempts: c.cfg.MaxAttempts, Logger: c.cfg.Logger, Pause: c.pause}
	creds, err := repeat.Do(ctx, func(offset time.Duration) (credentials.Credentials, error) {
		return c.attempt(ctx, source, offset)
	})
	if err != nil {
		return none, fmt.Errorf("assuming role %s: %w", c.cfg.RoleARN, err)
	}
	return creds, nil
}
