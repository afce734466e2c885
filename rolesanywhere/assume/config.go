package assume

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/awsservice"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// The limits of AssumeRole (AWS STS API Reference).
const (
	maxARN        = 2048
	maxExternalID = 1224
	maxTags       = 50
	maxTagKey     = 128
	maxTagValue   = 256
)

// Check returns an error that wraps rolesanywhere.ErrConfig if cfg is invalid.
// It does not check the Source.
func (cfg Config) Check() error {
	_, err := checked(cfg)
	return err
}

// RoleName returns the role's name without its path. It returns "" if
// [Config.Check] returns an error.
func (cfg Config) RoleName() string {
	if cfg.Check() != nil {
		return ""
	}
	return path.Base(cfg.RoleARN)
}

// CacheKey returns the [credentials.Key] of the credentials that a Client with
// cfg obtains. source is the key of the credentials of its Source. The key
// depends on everything that determines the response, but not on options such as
// the timeout. The error wraps rolesanywhere.ErrConfig.
func (cfg Config) CacheKey(source string) (string, error) {
	c, err := checked(cfg)
	if err != nil {
		return "", err
	}
	return credentials.Key("AssumeRole", source, c.endpoint.String(), c.cfg.Region, c.form().Encode()), nil
}

// checked checks all fields except the Source, and sets the defaults of those
// that a request contains.
func checked(cfg Config) (*Client, error) {
	c := &Client{cfg: cfg, pause: await.Pause}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", rolesanywhere.ErrConfig, err)
	}
	if c.cfg.SessionName == "" {
		c.cfg.SessionName = DefaultSessionName
	}
	return c, nil
}

func (c *Client) check() (err error) {
	cfg := c.cfg
	if c.account, err = checkRoleARN(cfg.RoleARN, cfg.Region); err != nil {
		return err
	}
	if c.endpoint, err = endpoint(cfg); err != nil {
		return err
	}
	if d := cfg.Duration; d != 0 && (d < MinDuration || d > MaxDuration || d%time.Second != 0) {
		return signer.WithHint(fmt.Errorf("session duration %v of the assumed role is not a whole number of seconds from %d to %d",
			d, MinDuration/time.Second, MaxDuration/time.Second),
			"AWS limits the session of a role that another role assumes to one hour; set assume.Config.Duration to at most 3600 seconds")
	}
	if cfg.Timeout < 0 {
		return fmt.Errorf("timeout %v is negative", cfg.Timeout)
	}
	if cfg.MaxAttempts < 0 {
		return fmt.Errorf("maximum number of attempts %d is negative", cfg.MaxAttempts)
	}
	for _, name := range []struct{ what, value string }{
		{"role session name", cfg.SessionName}, {"source identity", cfg.SourceIdentity},
	} {
		if n := name.value; n != "" && (len(n) < 2 || len(n) > 64 || !consistsOf(n, awsservice.IsNameChar)) {
			return fmt.Errorf("%s %q must consist of 2 to 64 letters, digits and characters from _+=,.@-", name.what, awsservice.Clip(n))
		}
	}
	if id := cfg.ExternalID; id != "" && (len(id) < 2 || len(id) > maxExternalID || !consistsOf(id, func(r rune) bool { return awsservice.IsNameChar(r) || r == ':' || r == '/' })) {
		return fmt.Errorf("the external ID must consist of 2 to %d letters, digits and characters from _+=,.@:/-", maxExternalID)
	}
	return checkTags(cfg.Tags, cfg.TransitiveTagKeys)
}

// checkRoleARN checks the ARN of a role in the partition of a region and returns
// its account.
func checkRoleARN(arn, region string) (account string, err error) {
	const form = "set assume.Config.RoleARN to an ARN of the form arn:aws:iam::ACCOUNT:role/NAME"
	fail := func(format string, args ...any) (string, error) {
		return "", signer.WithHint(fmt.Errorf("ARN %q of the role to assume %w", awsservice.Clip(arn), fmt.Errorf(format, args...)), form)
	}
	if arn == "" {
		return "", signer.WithHint(errors.New("no ARN of a role to assume is given"), form)
	}
	if region == "" {
		return "", errors.New("no region of STS is given")
	}
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" {
		return fail("does not start with arn: or does not have six parts separated by colons")
	}
	account = parts[4]
	name, isRole := strings.CutPrefix(parts[5], "role/")
	switch want := awsservice.PartitionOf(region).Name; {
	case parts[2] != "iam" || parts[3] != "" || !isRole:
		return fail("is not the ARN of a role")
	case len(account) != 12 || !consistsOf(account, func(r rune) bool { return '0' <= r && r <= '9' }):
		return fail("has the invalid account ID %q; account IDs have 12 digits", awsservice.Clip(account))
	case len(arn) > maxARN, !awsservice.IsRolePath(name):
		return fail("ends in %q, which does not identify a role", awsservice.Clip(name))
	case parts[1] != want:
		return fail("has partition %s, but region %s belongs to partition %s", awsservice.Clip(parts[1]), region, want)
	}
	return account, nil
}

// endpoint returns the URL of STS.
//
// Source: endpoint rules of STS in aws-sdk-go-v2 (service/sts v1.51.8).
func endpoint(cfg Config) (*url.URL, error) {
	fipsHost := "sts-fips"
	if awsservice.PartitionOf(cfg.Region).Name == "aws-us-gov" && !cfg.DualStack {
		fipsHost = "sts" // the regular endpoint is the FIPS endpoint
	}
	return awsservice.Endpoint{
		Name: "STS endpoint", Field: "assume.Config.Endpoint", Host: "sts", FIPSHost: fipsHost, Region: cfg.Region, Path: "/",
		Custom: cfg.Endpoint, FIPS: cfg.FIPS, DualStack: cfg.DualStack, Insecure: cfg.Insecure,
	}.URL()
}

func checkTags(tags map[string]string, transitive []string) error {
	if len(tags) > maxTags {
		return fmt.Errorf("%d session tags are given; at most %d are allowed", len(tags), maxTags)
	}
	folded := make(map[string]bool, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		switch n := utf8.RuneCountInString(key); {
		case n < 1 || n > maxTagKey || !consistsOf(key, tagRune):
			return fmt.Errorf("the key of session tag %q must consist of 1 to %d letters, digits, spaces and characters from _.:/=+-@", awsservice.Clip(key), maxTagKey)
		case strings.HasPrefix(strings.ToLower(key), "aws:"):
			return fmt.Errorf("the key of session tag %q begins with aws:, which AWS reserves", awsservice.Clip(key))
		case folded[strings.ToLower(key)]:
			return fmt.Errorf("session tag %q is given twice; AWS does not distinguish upper and lower case in keys", awsservice.Clip(key))
		case utf8.RuneCountInString(tags[key]) > maxTagValue || tags[key] != "" && !consistsOf(tags[key], tagRune):
			return fmt.Errorf("the value of session tag %q must consist of at most %d letters, digits, spaces and characters from _.:/=+-@", awsservice.Clip(key), maxTagValue)
		}
		folded[strings.ToLower(key)] = true
	}
	seen := make(map[string]bool, len(transitive))
	for _, key := range transitive {
		switch _, ok := tags[key]; {
		case !ok && folded[strings.ToLower(key)]:
			return fmt.Errorf("transitive tag key %q differs in upper and lower case from the key of the session tag", awsservice.Clip(key))
		case !ok:
			return signer.WithHint(fmt.Errorf("transitive tag key %q is not the key of a session tag", awsservice.Clip(key)), "set a session tag with this key")
		case seen[key]:
			return fmt.Errorf("transitive tag key %q is given twice", awsservice.Clip(key))
		}
		seen[key] = true
	}
	return nil
}

func consistsOf(s string, class func(rune) bool) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !class(r) })
}

// tagRune reports whether STS allows r in tags.
func tagRune(r rune) bool {
	return unicode.In(r, unicode.L, unicode.Z, unicode.N) || strings.ContainsRune("_.:/=+-@", r)
}
