package rolesanywhere

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	anchorAlias  = "arn:aws:rolesanywhere:us-east-1:111122223333:alias/trust-anchor/"
	profileAlias = "arn:aws:rolesanywhere:us-east-1:111122223333:alias/profile/"
)

func TestAliases(t *testing.T) {
	for alias, ok := range map[string]bool{
		"a": true, "production-ca": true, "Team_1/app/a-b": true, "awsome": true, "aws": true, "a/aws/b": true,
		"a" + strings.Repeat("b", 255): true, "a" + strings.Repeat("/b", 127): true,
		"": false, "a" + strings.Repeat("b", 256): false, "1a": false, "-a": false, "_a": false, "/a": false,
		"a/": false, "a//b": false, "a b": false, "a.b": false, "a:b": false, "ä": false, "a\n": false,
		"aws/a": false, "AWS/a": false, "aWs/a": false,
	} {
		for _, set := range []func(*Config){
			func(c *Config) { c.TrustAnchorARN = anchorAlias + alias },
			func(c *Config) { c.ProfileARN = profileAlias + alias },
		} {
			cfg := validConfig()
			set(&cfg)
			if err := cfg.Check(); ok != (err == nil) || err != nil && !errors.Is(err, ErrConfig) {
				t.Errorf("%q: %v", alias, err)
			} else if err != nil && !strings.Contains(signer.Hint(err), "alias/") {
				t.Errorf("%q: hint %q", alias, signer.Hint(err))
			}
		}
	}
	for name, set := range map[string]func(*Config){
		"anchor by the alias of a profile": func(c *Config) { c.TrustAnchorARN = profileAlias + "app" },
		"profile by the alias of a CRL":    func(c *Config) { c.ProfileARN = strings.Replace(profileAlias, "profile", "crl", 1) + "app" },
		"alias without type":               func(c *Config) { c.TrustAnchorARN = strings.TrimSuffix(anchorAlias, "trust-anchor/") + "app" },
		"alias of a role":                  func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:alias/role/app" },
		"alias without ARN":                func(c *Config) { c.ProfileARN = "app" },
	} {
		cfg := validConfig()
		set(&cfg)
		if err := cfg.Check(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v, want ErrConfig", name, err)
		}
	}
}

// The service resolves aliases. Policies see the ARN with the ID.
func TestCredentialsWithAliases(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	policy := func(anchor string) string {
		return `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "rolesanywhere.amazonaws.com"},
			"Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"],
			"Condition": {"ArnEquals": {"aws:SourceArn": "` + anchor + `"}}}]}`
	}
	for _, test := range []struct{ source, hint string }{
		{emulator.DefaultTrustAnchorARN(emulator.DefaultRegion, emulator.DefaultAccount, 1), ""},
		{anchorAlias + "ca", "aws:SourceArn"},
	} {
		cfg := startEmulator(t, ca, func(c *emulator.Config) {
			c.TrustAnchors[0].Alias = "ca"
			c.Profiles = []emulator.Profile{{Alias: "team/app"}}
			c.Roles = []emulator.Role{{TrustPolicy: policy(test.source)}}
		})
		cfg.Signer = identity(t, ca, "p256")
		cfg.TrustAnchorARN, cfg.ProfileARN = anchorAlias+"ca", profileAlias+"team/app"
		c, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Credentials(t.Context())
		if test.hint == "" && err != nil || test.hint != "" && !strings.Contains(signer.Hint(err), test.hint) {
			t.Errorf("aws:SourceArn is %s: %v, hint %q", test.source, err, signer.Hint(err))
		}
		cfg.TrustAnchorARN = anchorAlias + "CA"
		if c, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		_, err = c.Credentials(t.Context())
		if api, ok := errors.AsType[*APIError](err); !ok || api.StatusCode != http.StatusNotFound || !strings.Contains(api.Hint(), "case-sensitive") {
			t.Errorf("alias in another case: %v", err)
		}
	}
}
