package assume

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
)

func valid() Config {
	return Config{Source: static, RoleARN: otherRole, Region: "us-east-1"}
}

func TestNew(t *testing.T) {
	cfg := valid()
	if cfg.RoleName() != "other" {
		t.Errorf("role name is %q", cfg.RoleName())
	}
	cfg.Source = nil
	if _, err := New(cfg); !errors.Is(err, rolesanywhere.ErrConfig) {
		t.Errorf("no source: %v", err)
	}
	cfg.RoleARN = "x"
	if cfg.RoleName() != "" {
		t.Errorf("role name is %q", cfg.RoleName())
	}
}

func TestCheck(t *testing.T) {
	tags := make(map[string]string)
	for i := range 51 {
		tags[fmt.Sprint(i)] = "x"
	}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		text   string // of the error; "": valid
		hint   string
	}{
		{"valid", func(*Config) {}, "", ""},
		{"one hour", func(c *Config) { c.Duration = time.Hour }, "", ""},
		{"more than an hour", func(c *Config) { c.Duration = time.Hour + time.Second }, "900 to 3600", "one hour"},
		{"twelve hours", func(c *Config) { c.Duration = 12 * time.Hour }, "900 to 3600", "one hour"},
		{"too short", func(c *Config) { c.Duration = time.Minute }, "900 to 3600", "assume.Config.Duration"},
		{"half a second", func(c *Config) { c.Duration = 15*time.Minute + time.Second/2 }, "whole number", ""},
		{"negative timeout", func(c *Config) { c.Timeout = -1 }, "timeout", ""},
		{"negative attempts", func(c *Config) { c.MaxAttempts = -1 }, "attempts", ""},
		{"no role", func(c *Config) { c.RoleARN = "" }, "no ARN", "assume.Config.RoleARN"},
		{"no ARN", func(c *Config) { c.RoleARN = "other" }, "arn:", "assume.Config.RoleARN"},
		{"user", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:user/app" }, "not the ARN of a role", ""},
		{"session", func(c *Config) { c.RoleARN = "arn:aws:sts::111122223333:assumed-role/app/x" }, "not the ARN of a role", ""},
		{"region in the ARN", func(c *Config) { c.RoleARN = "arn:aws:iam:us-east-1:111122223333:role/app" }, "not the ARN of a role", ""},
		{"account", func(c *Config) { c.RoleARN = "arn:aws:iam::11112222333:role/app" }, "12 digits", ""},
		{"role name", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/a b" }, "identify", ""},
		{"no role name", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/" }, "identify", ""},
		{"path", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/a/../b" }, "identify", ""},
		{"long role name", func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/" + strings.Repeat("x", 65) }, "identify", ""},
		{"partition", func(c *Config) { c.RoleARN = "arn:aws-cn:iam::111122223333:role/app" }, "partition", ""},
		{"no region", func(c *Config) { c.Region = "" }, "region", ""},
		{"session name", func(c *Config) { c.SessionName = "a b" }, "session name", ""},
		{"short session name", func(c *Config) { c.SessionName = "a" }, "session name", ""},
		{"source identity", func(c *Config) { c.SourceIdentity = "a/b" }, "source identity", ""},
		{"external ID", func(c *Config) { c.ExternalID = "a b" }, "external ID", ""},
		{"external ID with a colon", func(c *Config) { c.ExternalID = "a:b/c" }, "", ""},
		{"short external ID", func(c *Config) { c.ExternalID = "a" }, "external ID", ""},
		{"51 tags", func(c *Config) { c.Tags = tags }, "51 session tags", ""},
		{"tag key", func(c *Config) { c.Tags = map[string]string{"a#": "b"} }, `"a#"`, ""},
		{"empty tag key", func(c *Config) { c.Tags = map[string]string{"": "b"} }, "1 to 128", ""},
		{"reserved tag key", func(c *Config) { c.Tags = map[string]string{"AWS:a": "b"} }, "reserves", ""},
		{"tag twice", func(c *Config) { c.Tags = map[string]string{"a": "b", "A": "b"} }, "twice", ""},
		{"tag value", func(c *Config) { c.Tags = map[string]string{"a": "*"} }, "value", ""},
		{"empty tag value", func(c *Config) { c.Tags = map[string]string{"a": ""} }, "", ""},
		{"long tag value", func(c *Config) { c.Tags = map[string]string{"a": strings.Repeat("ü", 257)} }, "256", ""},
		{"transitive key", func(c *Config) { c.Tags, c.TransitiveTagKeys = map[string]string{"a": "b"}, []string{"c"} }, `"c"`, "session tag"},
		{"transitive key twice", func(c *Config) { c.Tags, c.TransitiveTagKeys = map[string]string{"a": "b"}, []string{"a", "a"} }, "twice", ""},
		{"endpoint", func(c *Config) { c.Endpoint = "http://example.com" }, "STS endpoint", "Config.Insecure"},
		{"insecure endpoint", func(c *Config) { c.Endpoint, c.Insecure = "http://example.com", true }, "", ""},
		{"endpoint with a path", func(c *Config) { c.Endpoint = "https://example.com/sts" }, "path", ""},
		{"endpoint with a password", func(c *Config) { c.Endpoint = "https://me:secret@example.com" }, "password", ""},
		{"endpoint and FIPS", func(c *Config) { c.Endpoint, c.FIPS = "https://example.com", true }, "STS endpoint", "assume.Config.Endpoint"},
	} {
		cfg := valid()
		tt.change(&cfg)
		err := cfg.Check()
		if tt.text == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if !errors.Is(err, rolesanywhere.ErrConfig) || !strings.Contains(err.Error(), tt.text) || !strings.Contains(signer.Hint(err), tt.hint) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, hint %q", tt.name, err, signer.Hint(err))
		}
		if _, err := cfg.CacheKey("x"); !errors.Is(err, rolesanywhere.ErrConfig) {
			t.Errorf("%s: cache key: %v", tt.name, err)
		}
	}
}

// Source: endpoint tests of STS in aws-sdk-go-v2 (service/sts v1.51.8).
func TestEndpoints(t *testing.T) {
	for _, tt := range []struct{ partition, region, regular, fips, dual, both string }{
		{"aws", "us-east-1", "sts.us-east-1.amazonaws.com", "sts-fips.us-east-1.amazonaws.com", "sts.us-east-1.api.aws", "sts-fips.us-east-1.api.aws"},
		{"aws", "eu-central-1", "sts.eu-central-1.amazonaws.com", "sts-fips.eu-central-1.amazonaws.com", "sts.eu-central-1.api.aws", "sts-fips.eu-central-1.api.aws"},
		{"aws-cn", "cn-north-1", "sts.cn-north-1.amazonaws.com.cn", "sts-fips.cn-north-1.amazonaws.com.cn", "sts.cn-north-1.api.amazonwebservices.com.cn", "sts-fips.cn-north-1.api.amazonwebservices.com.cn"},
		{"aws-us-gov", "us-gov-west-1", "sts.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.amazonaws.com", "sts.us-gov-west-1.api.aws", "sts-fips.us-gov-west-1.api.aws"},
		{"aws-iso", "us-iso-east-1", "sts.us-iso-east-1.c2s.ic.gov", "sts-fips.us-iso-east-1.c2s.ic.gov", "", ""},
	} {
		for _, e := range []struct {
			want       string
			fips, dual bool
		}{{tt.regular, false, false}, {tt.fips, true, false}, {tt.dual, false, true}, {tt.both, true, true}} {
			cfg := Config{RoleARN: "arn:" + tt.partition + ":iam::111122223333:role/app", Region: tt.region, FIPS: e.fips, DualStack: e.dual}
			c, err := checked(cfg)
			if e.want == "" {
				if !errors.Is(err, rolesanywhere.ErrConfig) || !strings.Contains(signer.Hint(err), "Config.DualStack") {
					t.Errorf("%s: %v, hint %q", tt.region, err, signer.Hint(err))
				}
				continue
			}
			if err != nil || c.endpoint.String() != "https://"+e.want+"/" {
				t.Errorf("%s, FIPS %t, dual stack %t: %v, %v, want %s", tt.region, e.fips, e.dual, c, err, e.want)
			}
		}
	}
}

// The key depends on everything that determines the response.
func TestCacheKey(t *testing.T) {
	seen := make(map[string]string)
	for name, change := range map[string]func(*Config){
		"nothing":         func(*Config) {},
		"role":            func(c *Config) { c.RoleARN += "2" },
		"session name":    func(c *Config) { c.SessionName = "me" },
		"duration":        func(c *Config) { c.Duration = 15 * time.Minute },
		"external ID":     func(c *Config) { c.ExternalID = "id" },
		"source identity": func(c *Config) { c.SourceIdentity = "id" },
		"tag":             func(c *Config) { c.Tags = map[string]string{"a": "b"} },
		"other tag":       func(c *Config) { c.Tags = map[string]string{"a": "c"} },
		"transitive tag":  func(c *Config) { c.Tags, c.TransitiveTagKeys = map[string]string{"a": "b"}, []string{"a"} },
		"region":          func(c *Config) { c.Region = "us-west-2" },
		"endpoint":        func(c *Config) { c.Endpoint = "https://example.com" },
		"FIPS":            func(c *Config) { c.FIPS = true },
		"dual stack":      func(c *Config) { c.DualStack = true },
	} {
		cfg := valid()
		change(&cfg)
		key, err := cfg.CacheKey("source")
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s have the same key", name, other)
		}
		seen[key] = name
		cfg.Timeout, cfg.UserAgent, cfg.Source = time.Minute, "x", nil
		if again, _ := cfg.CacheKey("source"); again != key {
			t.Errorf("%s: options change the key", name)
		}
		if other, _ := cfg.CacheKey("other"); other == key {
			t.Errorf("%s: the source does not change the key", name)
		}
	}
	cfg := valid()
	cfg.SessionName, cfg.Duration = DefaultSessionName, time.Hour
	if key, _ := cfg.CacheKey("source"); seen[key] != "nothing" {
		t.Error("defaults that are set change the key")
	}
}
