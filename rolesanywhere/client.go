package rolesanywhere

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// The limits of a session's duration.
const (
	MinDuration = 15 * time.Minute
	MaxDuration = 12 * time.Hour
)

// DefaultTimeout is the default time limit for one call of
// [Client.Credentials], including all signatures and retries.
const DefaultTimeout = 8 * time.Second

// DefaultMaxAttempts is the default maximum number of requests for one session,
// and for one call of AssumeRole in package assume.
const DefaultMaxAttempts = 4

// MaxTouchTimeout is the longest time that a signature may wait for a person.
// The AWS SDK for Go ends a credential process after 60 seconds.
const MaxTouchTimeout = await.PersonTimeout

// ErrConfig is wrapped by the errors of [New] about an invalid [Config]. No
// request was sent.
var ErrConfig = errors.New("invalid configuration")

// A Config describes which credentials to obtain, with which key and from which
// endpoint.
type Config struct {
	Signer          signer.Signer // borrowed; its chain is sent; nil for NewRotating
	CertificateName string        // names the certificate in errors, such as its file; "": its subject

	TrustAnchorARN string
	ProfileARN     string
	RoleARN        string

	Duration    time.Duration // session duration; 0: the profile's default
	SessionName string        // "": the certificate's serial number; otherwise the profile must accept names

	Region    string // "": the trust anchor's region
	Endpoint  string // a URL; "": the region's endpoint
	FIPS      bool   // use the FIPS endpoint
	DualStack bool   // use the dual-stack endpoint
	// Insecure allows plain HTTP to hosts other than the local one.
	Insecure bool

	Transport http.RoundTripper // nil: NewTransport(TransportConfig{})
	Timeout   time.Duration     // 0: DefaultTimeout

	// MaxAttempts is the maximum number of requests for one session. Fewer
	// are sent if the Timeout leaves no time for them. 0: DefaultMaxAttempts.
	MaxAttempts int

	// TouchTimeout is how long a signature may wait for a person who touches
	// the device or enters a PIN there, at most MaxTouchTimeout. This time
	// does not count towards Timeout. 0: a signature has to be made within
	// Timeout, or within MaxTouchTimeout if signer.NeedsPerson reports that
	// the Signer waits for a person.
	TouchTimeout time.Duration

	UserAgent string           // "": "Holdfast"
	Now       func() time.Time // nil: time.Now
	Logger    *slog.Logger     // nil: discard; the Client never logs secrets
}

// A Client obtains credentials with CreateSession. It is a [credentials.Source]
// and safe for concurrent use.
type Client struct {
	cfg      Config
	identity *rotate.Identity // lends the Signer for each session; nil: use cfg.Signer
	endpoint *url.URL
	anchor   arn
	role     arn
	pause    func(ctx context.Context, d time.Duration) error
}

var _ credentials.Source = (*Client)(nil)

// New checks cfg and returns a Client for it. It sends no request. The Client
// borrows the Signer; the caller closes it after the last use of the Client.
func New(cfg Config) (*Client, error) {
	if cfg.Signer == nil {
		return nil, fmt.Errorf("%w: no signer", ErrConfig)
	}
	return newClient(cfg)
}

func newClient(cfg Config) (*Client, error) {
	c := &Client{cfg: cfg, pause: await.Pause}
	if err := c.init(); err != nil {
		return nil, err
	}
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	return c, nil
}

// Check returns an error that wraps [ErrConfig] if cfg is invalid. It does not
// check the Signer.
func (cfg Config) Check() error { return (&Client{cfg: cfg}).init() }

// TrustAnchorRegion returns the region of the trust anchor. Requests are signed
// for this region, whether or not Region is set. It returns "" if
// [Config.Check] returns an error.
func (cfg Config) TrustAnchorRegion() string {
	c := &Client{cfg: cfg}
	if c.init() != nil {
		return ""
	}
	return c.anchor.region
}

// RoleName returns the role's name without its path: the last element of its
// ARN. It returns "" if [Config.Check] returns an error.
func (cfg Config) RoleName() string {
	c := &Client{cfg: cfg}
	if c.init() != nil {
		return ""
	}
	return path.Base(c.role.id)
}

func (c *Client) init() error {
	if err := c.checkNames(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// checkNames checks all fields except the Signer, and sets the endpoint, the
// trust anchor and the role.
func (c *Client) checkNames() (err error) {
	cfg := &c.cfg
	if c.anchor, err = parseARN("trust anchor", cfg.TrustAnchorARN, "rolesanywhere", "trust-anchor"); err != nil {
		return err
	}
	anchor := c.anchor
	profile, err := parseARN("profile", cfg.ProfileARN, "rolesanywhere", "profile")
	if err != nil {
		return err
	}
	if c.role, err = parseARN("role", cfg.RoleARN, "iam", "role"); err != nil {
		return err
	}
	if anchor.region != profile.region {
		return signer.WithHint(fmt.Errorf("the trust anchor is in region %s, but the profile is in %s", anchor.region, profile.region),
			"use the ARNs of a trust anchor and a profile in the same region")
	}
	for _, other := range []arn{profile, c.role} {
		if other.partition != anchor.partition {
			return signer.WithHint(fmt.Errorf("the trust anchor is in partition %s, but %s is in %s", anchor.partition, other.text, other.partition),
				"use ARNs of your account's partition")
		}
	}
	if cfg.Region == "" {
		cfg.Region = anchor.region
	}
	if cfg.Region != anchor.region {
		return signer.WithHint(fmt.Errorf("region %q is not the trust anchor's region %s", cfg.Region, anchor.region),
			"leave Config.Region out; the trust anchor's ARN says it")
	}
	if c.endpoint, err = endpoint(*cfg); err != nil {
		return err
	}
	if d := cfg.Duration; d != 0 && (d < MinDuration || d > MaxDuration || d%time.Second != 0) {
		return fmt.Errorf("session duration %v is not a whole number of seconds from %d to %d",
			d, MinDuration/time.Second, MaxDuration/time.Second)
	}
	if cfg.SessionName != "" && !isSessionName(cfg.SessionName) {
		return fmt.Errorf("role session name %q must consist of 2 to 64 letters, digits and characters from _+=,.@-", cfg.SessionName)
	}
	if cfg.Timeout < 0 {
		return fmt.Errorf("timeout %v is negative", cfg.Timeout)
	}
	if cfg.MaxAttempts < 0 {
		return fmt.Errorf("maximum number of attempts %d is negative", cfg.MaxAttempts)
	}
	if t := cfg.TouchTimeout; t < 0 || t > MaxTouchTimeout {
		return fmt.Errorf("touch timeout %v is not between 0 and %v", t, MaxTouchTimeout)
	}
	return nil
}

func (c *Client) setDefaults() (err error) {
	cfg := &c.cfg
	if cfg.Transport == nil {
		if cfg.Transport, err = NewTransport(TransportConfig{}); err != nil {
			return err
		}
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxAttempts == 0 {
		cfg.MaxAttempts = DefaultMaxAttempts
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "Holdfast"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Logger = logging.OrDiscard(cfg.Logger)
	return nil
}

// Credentials creates a session and returns its credentials. It retries
// transient errors within the timeout. If the response shows that the local
// clock is wrong, it signs the request once more with the service's time.
//
// The error is a [*CertificateError] if no request was sent, an [*APIError], an
// error that wraps [ErrUnreachable], or an error of the Signer.
func (c *Client) Credentials(ctx context.Context) (credentials.Credentials, error) {
	if c.identity != nil {
		return c.rotating(ctx)
	}
	if err := c.cfg.CheckSigner(c.cfg.Signer); err != nil {
		return credentials.Credentials{}, err
	}
	c.warnSoon()
	ctx, cancel := await.Limit(ctx, c.cfg.Timeout)
	defer cancel()
	return c.createSession(ctx)
}

// warnSoon logs certificates of the likeliest path that are sent although they
// are not yet valid by the local clock.
func (c *Client) warnSoon() {
	now := c.cfg.Now()
	for _, cert := range c.cfg.Signer.Chain() {
		if soon(cert, now) {
			c.cfg.Logger.Warn("a certificate is not yet valid by the local clock; asking the service, whose clock decides",
				"subject", clip(cert.Subject.String()), "not_before", cert.NotBefore.UTC().Format(time.RFC3339), "clock", now.UTC().Format(time.RFC3339))
		}
	}
}
