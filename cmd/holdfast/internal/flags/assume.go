package flags

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/assume"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// Assume is the group of flags for a second role, which is assumed with the
// session. All commands that create sessions have it.
type Assume struct {
	chain   Chain
	seconds int
	tags    []string
}

// Add adds the flags to a command.
func (f *Assume) Add(cmd *cobra.Command) {
	c := &f.chain
	front.AssumeFlags.Define(cmd.Flags(), func(fs *pflag.FlagSet) {
		fs.StringVar(&c.RoleARN, "assume-role-arn", "", "`ARN` of a second role to assume with the session; the credentials are those of the second role; see docs/role-chaining.md")
		fs.StringVar(&c.SessionName, "assume-role-session-name", "", "`name` of the session of the second role (default: "+assume.DefaultSessionName+")")
		fs.IntVar(&f.seconds, "assume-role-session-duration", 0, "duration of the session of the second role in `seconds`, 900 to 3600 (default: 3600)")
		fs.StringVar(&c.ExternalID, "assume-role-external-id", "", "external `ID` that the trust policy of the second role requires")
		front.ListVar(fs, &f.tags, "assume-role-tag", "session `tag` of the second role, KEY=VALUE; can be repeated")
		front.ListVar(fs, &c.TransitiveTagKeys, "assume-role-transitive-tag-key", "`key` of a session tag that is passed on to the roles that the second role assumes; can be repeated")
		f.addEndpoint(fs)
	})
}

// AddEndpoint adds only the flag for the endpoint of STS, for a command that has the
// other settings from elsewhere.
func (f *Assume) AddEndpoint(cmd *cobra.Command) {
	front.ServiceFlags.Define(cmd.Flags(), f.addEndpoint)
}

func (f *Assume) addEndpoint(fs *pflag.FlagSet) {
	fs.StringVar(&f.chain.Endpoint, "sts-endpoint", "", "`URL` of the STS endpoint (default: AWS_ENDPOINT_URL_STS, AWS_ENDPOINT_URL, or the endpoint of the region)")
}

// Chain returns the second role that the flags and the environment describe. The
// caller completes it from a configuration file, and checks it.
func (f *Assume) Chain(cmd *cobra.Command, a front.App) (Chain, error) {
	c := f.chain
	c.wanted = cmd.Flags().Changed("assume-role-arn")
	if c.Endpoint == "" {
		var err error
		if c.Endpoint, c.variable, err = EndpointFromEnvironment(a, "STS"); err != nil {
			return c, err
		}
	}
	if cmd.Flags().Changed("assume-role-session-duration") {
		if err := CheckChainSeconds(f.seconds); err != nil {
			return c, signer.WithHint(front.Usagef("--assume-role-session-duration %w", err), signer.Hint(err))
		}
		c.Duration = time.Duration(f.seconds) * time.Second
	}
	for _, tag := range f.tags {
		key, value, ok := strings.Cut(tag, "=")
		if !ok {
			return c, signer.WithHint(front.Usagef("--assume-role-tag %q is not of the form KEY=VALUE", tag), "write the key, an equals sign and the value, such as --assume-role-tag Team=blue")
		}
		if _, twice := c.Tags[key]; twice {
			return c, front.Usagef("--assume-role-tag: key %q is given twice", key)
		}
		if c.Tags == nil {
			c.Tags = make(map[string]string)
		}
		c.Tags[key] = value
	}
	return c, nil
}

// A Chain is a second role, which is assumed with the session of the first one.
// If it has no RoleARN, there is no second role. The fields that the connection
// determines are not set.
type Chain struct {
	assume.Config

	wanted   bool   // the flag for the ARN is given; it may be empty
	variable string // environment variable that sets the Endpoint; "": none does
}

// OrElse returns c with the missing settings from other. Tags and the keys of
// transitive tags are one setting.
func (c Chain) OrElse(other Chain) Chain {
	for _, f := range []struct {
		dst   *string
		value string
	}{
		{&c.RoleARN, other.RoleARN},
		{&c.SessionName, other.SessionName},
		{&c.ExternalID, other.ExternalID},
		{&c.Endpoint, other.Endpoint},
	} {
		*f.dst = cmp.Or(*f.dst, f.value)
	}
	c.Duration = cmp.Or(c.Duration, other.Duration)
	if len(c.Tags) == 0 && len(c.TransitiveTagKeys) == 0 {
		c.Tags, c.TransitiveTagKeys = other.Tags, other.TransitiveTagKeys
	}
	return c
}

// isZero reports whether no setting of the second role is given. The endpoint
// does not count: it is a setting of STS.
func (c Chain) isZero() bool {
	return !c.wanted && c.RoleARN == "" && c.SessionName == "" && c.ExternalID == "" && c.Duration == 0 &&
		len(c.Tags) == 0 && len(c.TransitiveTagKeys) == 0
}

// Check checks the settings of the second role. session is the valid
// configuration of the first one.
func (c Chain) Check(session rolesanywhere.Config) error {
	switch {
	case c.isZero():
		return nil
	case c.RoleARN == "" && c.wanted:
		return signer.WithHint(front.Usagef("--assume-role-arn is empty"), "give the ARN of the second role, or leave out the flag")
	case c.RoleARN == "":
		return signer.WithHint(front.Usagef("settings of a second role are given, but not its ARN"), "add assume.Config.RoleARN")
	case c.variable != "":
		if err := checkEnvironmentEndpoint(c.Endpoint, c.variable, session); err != nil {
			return err
		}
	}
	return c.config(session).Check()
}

// CacheKey returns the key of the credentials, if key is that of the first
// role's.
func (c Chain) CacheKey(session rolesanywhere.Config, key string) (string, error) {
	if c.RoleARN == "" {
		return key, nil
	}
	return c.config(session).CacheKey(key)
}

// Source returns a source of the second role's credentials, if first is one of
// the first role's. Without a second role it returns first. The timeout of the
// session is that of both roles together.
func (c Chain) Source(session rolesanywhere.Config, first credentials.Source) (credentials.Source, error) {
	if c.RoleARN == "" {
		return first, nil
	}
	cfg := c.config(session)
	cfg.Source = firstSource{first}
	client, err := assume.New(cfg)
	if err != nil {
		return nil, err
	}
	return limited{client, cmp.Or(session.Timeout, rolesanywhere.DefaultTimeout), session.Endpoint != "" && c.Endpoint == ""}, nil
}

// A limited is a source with one timeout for all that it does.
type limited struct {
	source  credentials.Source
	timeout time.Duration
	one     bool // only the first role has an endpoint
}

// Credentials implements [credentials.Source].
func (l limited) Credentials(ctx context.Context) (credentials.Credentials, error) {
	ctx, cancel := await.Limit(ctx, l.timeout)
	defer cancel()
	c, err := l.source.Credentials(ctx)
	var first *firstError
	if l.one && errors.Is(err, rolesanywhere.ErrUnreachable) && !errors.As(err, &first) {
		err = signer.WithHint(err, "check the network and the proxy; --endpoint applies only to the first role, and --sts-endpoint to the second one")
	}
	return c, err
}

// A firstSource is the source of the first role. Its errors are [*firstError].
type firstSource struct{ credentials.Source }

// Credentials implements [credentials.Source].
func (s firstSource) Credentials(ctx context.Context) (credentials.Credentials, error) {
	c, err := s.Source.Credentials(ctx)
	if err != nil {
		err = &firstError{err}
	}
	return c, err
}

// A firstError is an error of the first role.
type firstError struct{ error }

// Unwrap returns the error.
func (e *firstError) Unwrap() error { return e.error }

// Role returns the ARN and the name of the role whose credentials Source
// provides.
func (c Chain) Role(session rolesanywhere.Config) (arn, name string) {
	if c.RoleARN == "" {
		return session.RoleARN, session.RoleName()
	}
	return c.RoleARN, c.config(session).RoleName()
}

// Connection returns the configuration of STS for a request without a second role.
func (c Chain) Connection(session rolesanywhere.Config) assume.Config { return c.config(session) }

// config returns the configuration of AssumeRole, with the region and the
// connection of the session.
func (c Chain) config(session rolesanywhere.Config) assume.Config {
	cfg := c.Config
	cfg.Region = session.TrustAnchorRegion()
	cfg.FIPS, cfg.DualStack, cfg.Insecure = session.FIPS, session.DualStack, session.Insecure
	cfg.Transport, cfg.Timeout, cfg.MaxAttempts = session.Transport, session.Timeout, session.MaxAttempts
	cfg.UserAgent, cfg.Now, cfg.Logger = session.UserAgent, session.Now, session.Logger
	return cfg
}

// CheckChainSeconds checks the duration of the session of a second role.
func CheckChainSeconds(seconds int) error {
	if lo, hi := int(assume.MinDuration/time.Second), int(assume.MaxDuration/time.Second); seconds < lo || seconds > hi {
		return signer.WithHint(front.Usagef("%d is not between %d and %d seconds", seconds, lo, hi),
			"AWS limits the session of a role that is assumed with the credentials of another role to one hour")
	}
	return nil
}
