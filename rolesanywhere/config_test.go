package rolesanywhere

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

const (
	anchorARN  = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/0123abcd-0123-abcd-0123-0123456789ab"
	profileARN = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/0123abcd-0123-abcd-0123-0123456789ab"
	roleARN    = "arn:aws:iam::111122223333:role/team/app"
)

func validConfig() Config {
	return Config{TrustAnchorARN: anchorARN, ProfileARN: profileARN, RoleARN: roleARN}
}

// inRegion returns a valid config for a partition and region.
func inRegion(partition, region string) Config {
	move := func(arn string) string {
		return strings.NewReplacer("arn:aws:", "arn:"+partition+":", "us-east-1", region).Replace(arn)
	}
	return Config{TrustAnchorARN: move(anchorARN), ProfileARN: move(profileARN), RoleARN: move(roleARN)}
}

func TestEndpoints(t *testing.T) {
	for _, p := range []struct {
		partition, region                   string
		standard, fips, dualStack, fipsDual string
	}{
		{"aws", "us-east-1", "rolesanywhere.us-east-1.amazonaws.com", "rolesanywhere-fips.us-east-1.amazonaws.com",
			"rolesanywhere.us-east-1.api.aws", "rolesanywhere-fips.us-east-1.api.aws"},
		{"aws", "mx-central-1", "rolesanywhere.mx-central-1.amazonaws.com", "rolesanywhere-fips.mx-central-1.amazonaws.com",
			"rolesanywhere.mx-central-1.api.aws", "rolesanywhere-fips.mx-central-1.api.aws"},
		{"aws-cn", "cn-north-1", "rolesanywhere.cn-north-1.amazonaws.com.cn", "rolesanywhere-fips.cn-north-1.amazonaws.com.cn",
			"rolesanywhere.cn-north-1.api.amazonwebservices.com.cn", "rolesanywhere-fips.cn-north-1.api.amazonwebservices.com.cn"},
		{"aws-us-gov", "us-gov-west-1", "rolesanywhere.us-gov-west-1.amazonaws.com", "rolesanywhere-fips.us-gov-west-1.amazonaws.com",
			"rolesanywhere.us-gov-west-1.api.aws", "rolesanywhere-fips.us-gov-west-1.api.aws"},
		{"aws-eusc", "eusc-de-east-1", "rolesanywhere.eusc-de-east-1.amazonaws.eu", "rolesanywhere-fips.eusc-de-east-1.amazonaws.eu",
			"rolesanywhere.eusc-de-east-1.api.amazonwebservices.eu", "rolesanywhere-fips.eusc-de-east-1.api.amazonwebservices.eu"},
		{"aws-iso", "us-iso-east-1", "rolesanywhere.us-iso-east-1.c2s.ic.gov", "rolesanywhere-fips.us-iso-east-1.c2s.ic.gov", "", ""},
		{"aws-iso-b", "us-isob-east-1", "rolesanywhere.us-isob-east-1.sc2s.sgov.gov", "rolesanywhere-fips.us-isob-east-1.sc2s.sgov.gov", "", ""},
		{"aws-iso-e", "eu-isoe-west-1", "rolesanywhere.eu-isoe-west-1.cloud.adc-e.uk", "rolesanywhere-fips.eu-isoe-west-1.cloud.adc-e.uk", "", ""},
		{"aws-iso-f", "us-isof-south-1", "rolesanywhere.us-isof-south-1.csp.hci.ic.gov", "rolesanywhere-fips.us-isof-south-1.csp.hci.ic.gov", "", ""},
	} {
		for _, v := range []struct {
			fips, dualStack bool
			want            string
		}{{false, false, p.standard}, {true, false, p.fips}, {false, true, p.dualStack}, {true, true, p.fipsDual}} {
			cfg := inRegion(p.partition, p.region)
			cfg.FIPS, cfg.DualStack = v.fips, v.dualStack
			c := &Client{cfg: cfg}
			err := c.init()
			if v.want == "" {
				if !errors.Is(err, ErrConfig) {
					t.Errorf("%s with FIPS %t, dual-stack %t: %v, want ErrConfig", p.region, v.fips, v.dualStack, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", p.region, err)
			} else if got, want := c.endpoint.String(), "https://"+v.want+"/sessions"; got != want {
				t.Errorf("%s with FIPS %t, dual-stack %t: %s, want %s", p.region, v.fips, v.dualStack, got, want)
			}
		}
	}
}

func TestCustomEndpoint(t *testing.T) {
	for _, c := range []struct {
		endpoint string
		insecure bool
		want     string // "": refused
	}{
		{"https://vpce-1.rolesanywhere.us-east-1.vpce.amazonaws.com", false, "https://vpce-1.rolesanywhere.us-east-1.vpce.amazonaws.com/sessions"},
		{"https://host:8443/", false, "https://host:8443/sessions"},
		{"rolesanywhere.example.com", false, "https://rolesanywhere.example.com/sessions"},
		{"http://127.0.0.1:9911", false, "http://127.0.0.1:9911/sessions"},
		{"http://127.9.9.9:9911", false, "http://127.9.9.9:9911/sessions"},
		{"http://[::1]:9911", false, "http://[::1]:9911/sessions"},
		{"http://localhost:9911", false, "http://localhost:9911/sessions"},
		{"http://10.0.0.1", false, ""},
		{"http://localhost.example.com", false, ""},
		{"http://127.0.0.1.example.com", false, ""},
		{"http://10.0.0.1", true, "http://10.0.0.1/sessions"},
		{"ftp://host", false, ""},
		{"https://", false, ""},
		{"https://user:s3same@host", false, ""},
		{"https://host/path", false, ""},
		{"https://host?x=1", false, ""},
		{"https://host#x", false, ""},
		{"https://host:port", false, ""},
		{"https://ho st", false, ""},
		{"://", false, ""},
	} {
		cfg := validConfig()
		cfg.Endpoint, cfg.Insecure = c.endpoint, c.insecure
		client := &Client{cfg: cfg}
		err := client.init()
		switch {
		case c.want == "" && !errors.Is(err, ErrConfig):
			t.Errorf("%q: %v, want ErrConfig", c.endpoint, err)
		case c.want != "" && err != nil:
			t.Errorf("%q: %v", c.endpoint, err)
		case c.want != "" && client.endpoint.String() != c.want:
			t.Errorf("%q: %s, want %s", c.endpoint, client.endpoint, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "s3same") {
			t.Errorf("%q: the error contains the password: %v", c.endpoint, err)
		}
	}
}

func TestCheckConfig(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*Config)
		ok   bool
	}{
		{"valid", func(*Config) {}, true},
		{"role without path", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/app" }, true},
		{"role with all characters", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/a/b!/App_1+=,.@-" }, true},
		{"region of the anchor", func(c *Config) { c.Region = "us-east-1" }, true},
		{"shortest duration", func(c *Config) { c.Duration = 900 * time.Second }, true},
		{"longest duration", func(c *Config) { c.Duration = 43200 * time.Second }, true},
		{"session name", func(c *Config) { c.SessionName = "host-1.example.com" }, true},
		{"no anchor", func(c *Config) { c.TrustAnchorARN = "" }, false},
		{"no profile", func(c *Config) { c.ProfileARN = "" }, false},
		{"no role", func(c *Config) { c.RoleARN = "" }, false},
		{"anchor is a profile", func(c *Config) { c.TrustAnchorARN = profileARN }, false},
		{"profile is an anchor", func(c *Config) { c.ProfileARN = anchorARN }, false},
		{"role is a profile", func(c *Config) { c.RoleARN = profileARN }, false},
		{"role is a user", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:user/app" }, false},
		{"role has a region", func(c *Config) { c.RoleARN = "arn:aws:iam:us-east-1:111122223333:role/app" }, false},
		{"role without name", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/" }, false},
		{"role with empty path", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role//app" }, false},
		{"role with a space", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/a b" }, false},
		{"role with a brace", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/{x" }, false},
		{"role that is ..", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/.." }, false},
		{"role name of 65", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/" + strings.Repeat("r", 65) }, false},
		{"account of 11", func(c *Config) { c.RoleARN = "arn:aws:iam::11112222333:role/app" }, false},
		{"account of letters", func(c *Config) { c.RoleARN = "arn:aws:iam::1111222233aa:role/app" }, false},
		{"five parts", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333" }, false},
		{"not an ARN", func(c *Config) { c.TrustAnchorARN = "0123abcd-0123-abcd-0123-0123456789ab" }, false},
		{"trailing space", func(c *Config) { c.TrustAnchorARN += " " }, false},
		{"short ID", func(c *Config) { c.TrustAnchorARN = c.TrustAnchorARN[:len(anchorARN)-1] }, false},
		{"too long", func(c *Config) { c.RoleARN += strings.Repeat("/x", 600) }, false},
		{"partition", func(c *Config) { c.RoleARN = "arn:aws-cn:iam::111122223333:role/app" }, false},
		{"unknown partition", func(c *Config) { c.RoleARN = "arn:gcp:iam::111122223333:role/app" }, false},
		{"partition of another region", func(c *Config) { *c = inRegion("aws-cn", "us-east-1") }, false},
		{"anchor without region", func(c *Config) { *c = inRegion("aws", "") }, false},
		{"bad region", func(c *Config) { *c = inRegion("aws", "us-east") }, false},
		{"host in region", func(c *Config) { *c = inRegion("aws", "x.example.com/us-east-1") }, false},
		{"profile in another region", func(c *Config) { c.ProfileARN = strings.Replace(profileARN, "us-east-1", "us-west-2", 1) }, false},
		{"another region", func(c *Config) { c.Region = "us-west-2" }, false},
		{"duration too short", func(c *Config) { c.Duration = 899 * time.Second }, false},
		{"duration too long", func(c *Config) { c.Duration = 43201 * time.Second }, false},
		{"negative duration", func(c *Config) { c.Duration = -900 * time.Second }, false},
		{"fractional duration", func(c *Config) { c.Duration = 900*time.Second + 1 }, false},
		{"session name too short", func(c *Config) { c.SessionName = "x" }, false},
		{"session name too long", func(c *Config) { c.SessionName = strings.Repeat("x", 65) }, false},
		{"session name with a slash", func(c *Config) { c.SessionName = "a/b" }, false},
		{"session name not in ASCII", func(c *Config) { c.SessionName = "häuser" }, false},
		{"negative timeout", func(c *Config) { c.Timeout = -1 }, false},
		{"negative attempts", func(c *Config) { c.MaxAttempts = -1 }, false},
		{"endpoint and FIPS", func(c *Config) { c.Endpoint, c.FIPS = "https://host", true }, false},
		{"endpoint and dual-stack", func(c *Config) { c.Endpoint, c.DualStack = "https://host", true }, false},
	} {
		cfg := validConfig()
		c.set(&cfg)
		switch err := cfg.Check(); {
		case c.ok && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case !c.ok && !errors.Is(err, ErrConfig):
			t.Errorf("%s: %v, want ErrConfig", c.name, err)
		}
	}
}

func TestARNHintsShowTheForm(t *testing.T) {
	cfg := validConfig()
	cfg.ProfileARN = "x"
	if got := signer.Hint(cfg.Check()); got != "set Config.ProfileARN to an ARN of the form arn:aws:rolesanywhere:REGION:ACCOUNT:profile/ID, or with :alias/profile/NAME at the end" {
		t.Errorf("hint %q does not show the form", got)
	}
}

func FuzzARN(f *testing.F) {
	f.Add(anchorARN)
	f.Add(roleARN)
	f.Add("arn:aws:iam::1:role/")
	f.Fuzz(func(t *testing.T, s string) {
		for kind, service := range map[string]string{"trust-anchor": "rolesanywhere", "profile": "rolesanywhere", "role": "iam"} {
			a, err := parseARN(kind, s, service, kind)
			if err == nil && (a.text != s || len(a.account) != 12 || strings.ContainsAny(s, " \n\x00")) {
				t.Errorf("%q is accepted as a %s ARN", s, kind)
			}
		}
	})
}
