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

// The bounds of a session's duration that the service accepts.
const (
	MinDuration = 15 * time.Minute
	MaxDuration = 12 * time.Hour
)

// DefaultTimeout bounds one call of [Client.Credentials] with all its retries.
const DefaultTimeout = 8 * time.Second

// ErrConfig is wrapped by the errors of [New]: what was asked for cannot be,
// and nothing was sent.
var ErrConfig = errors.New("configuration is not valid")

// A Config says whose credentials to obtain, with which key, from where.
type Config struct {
	Signer          signer.Signer // borrowed; its chain goes along; nil for NewRotating
	CertificateName string        // what errors call the certificate, such as its file; "": its subject

	TrustAnchorARN string
	ProfileARN     string
	RoleARN        string

	Duration    time.Duration // of the session; 0: the profile's
	SessionName string        // "": the certificate's serial number; the profile must allow another

	Region    string // "": the trust anchor's
	Endpoint  string // a URL; "": the region's
	FIPS      bool
	DualStack bool
	// Insecure also allows plain http to hosts other than this one.
	Insecure bool

	Transport http.RoundTripper // nil: that of NewTransport with the zero config
	Timeout   time.Duration     // 0: DefaultTimeout
	UserAgent string            // "": "Holdfast"
	Now       func() time.Time  // nil: time.Now
	Logger    *slog.Logger      // nil: discard; secrets are never logged
}

// A Client obtains credentials by CreateSession. It is a
// [credentials.Source], and safe for concurrent use.
type Client struct {
	cfg      Config
	identity *rotate.Identity // lends the Signer of each session; nil: it is always cfg's
	endpoint *url.URL
	anchor   arn
	role     arn
	pause    func(ctx context.Context, d time.Duration) error
}

var _ credentials.Source = (*Client)(nil)

// New returns a Client for cfg, which it checks without sending anything. The
// Signer stays the caller's, who closes it after the last use of the Client.
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

// Check reports what is wrong with cfg, apart from its Signer, which it does
// not look at. The error wraps [ErrConfig].
func (cfg Config) Check() error { return (&Client{cfg: cfg}).init() }

// TrustAnchorRegion returns the region of the trust anchor, which is also the
// one to sign for, whether Region is given or not. It is "" if [Config.Check]
// returns an error.
func (cfg Config) TrustAnchorRegion() string {
	c := &Client{cfg: cfg}
	if c.init() != nil {
		return ""
	}
	return c.anchor.region
}

// RoleName returns the role's name, the last element of its ARN, without its
// path. It is "" if [Config.Check] returns an error.
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

// checkNames reads all that is text, and sets the endpoint, the trust anchor and
// the role.
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
		return signer.WithHint(fmt.Errorf("the trust anchor is in region %s, but the profile in %s", anchor.region, profile.region),
			"give the ARNs of a trust anchor and a profile of one region; there may be copies in several")
	}
	for _, other := range []arn{profile, c.role} {
		if other.partition != anchor.partition {
			return signer.WithHint(fmt.Errorf("the trust anchor is in partition %s, but %s in %s", anchor.partition, other.text, other.partition),
				"give the ARNs of one partition, that of your account")
		}
	}
	if cfg.Region == "" {
		cfg.Region = anchor.region
	}
	if cfg.Region != anchor.region {
		return signer.WithHint(fmt.Errorf("region %q is not that of the trust anchor, %s", cfg.Region, anchor.region),
			"leave Config.Region out; the trust anchor's ARN says it")
	}
	if c.endpoint, err = endpoint(*cfg, anchor.partition); err != nil {
		return err
	}
	if d := cfg.Duration; d != 0 && (d < MinDuration || d > MaxDuration || d%time.Second != 0) {
		return fmt.Errorf("session duration of %v is not whole seconds from %d to %d",
			d, MinDuration/time.Second, MaxDuration/time.Second)
	}
	if cfg.SessionName != "" && !isSessionName(cfg.SessionName) {
		return fmt.Errorf("role session name %q is not 2 to 64 letters, digits or any of _+=,.@-", cfg.SessionName)
	}
	if cfg.Timeout < 0 {
		return fmt.Errorf("timeout of %v is negative", cfg.Timeout)
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
	if cfg.UserAgent == "" {
		cfg.UserAgent = "Holdfast"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Logger = logging.OrDiscard(cfg.Logger)
	return nil
}

// Credentials creates a session and returns its credentials. It retries within
// the timeout what may pass by itself, and signs anew, once, if the answer
// shows that the local clock is wrong.
//
// Errors are a [*CertificateError], before anything is sent; an [*APIError];
// or wrap [ErrUnreachable]; or come from the Signer.
func (c *Client) Credentials(ctx context.Context) (credentials.Credentials, error) {
	if c.identity != nil {
		return c.rotating(ctx)
	}
	if err := c.cfg.CheckSigner(c.cfg.Signer); err != nil {
		return credentials.Credentials{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	return c.createSession(ctx)
}
