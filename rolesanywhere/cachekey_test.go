package rolesanywhere

import (
	"errors"
	"log/slog"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const keyARN = "arn:aws:rolesanywhere:us-east-1:111122223333:"

// Every field either changes the key or is listed as a field that does not.
func TestCacheKey(t *testing.T) {
	base := Config{
		TrustAnchorARN: keyARN + "trust-anchor/00000000-0000-0000-0000-000000000001",
		ProfileARN:     keyARN + "profile/00000000-0000-0000-0000-000000000001",
		RoleARN:        "arn:aws:iam::111122223333:role/demo",
	}
	want, err := base.CacheKey("identity", "trust")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{want: "nothing"}
	differs := func(what string, cfg Config, identity, trust string) {
		t.Helper()
		key, err := cfg.CacheKey(identity, trust)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s have the same key", other, what)
		}
		seen[key] = what
	}
	differs("identity", base, "identity2", "trust")
	differs("trust", base, "identity", "trust2")
	differs("identity and trust swapped", base, "trust", "identity")
	differs("no trust", base, "identity", "")

	changes := map[string]func(*Config){
		"TrustAnchorARN": func(c *Config) { c.TrustAnchorARN = keyARN + "trust-anchor/00000000-0000-0000-0000-000000000002" },
		"ProfileARN":     func(c *Config) { c.ProfileARN = keyARN + "profile/00000000-0000-0000-0000-000000000002" },
		"RoleARN":        func(c *Config) { c.RoleARN = "arn:aws:iam::111122223333:role/other" },
		"Duration":       func(c *Config) { c.Duration = time.Hour },
		"SessionName":    func(c *Config) { c.SessionName = "name" },
		"Region": func(c *Config) { // must match the ARNs
			c.Region = "us-east-2"
			c.TrustAnchorARN = "arn:aws:rolesanywhere:us-east-2:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
			c.ProfileARN = "arn:aws:rolesanywhere:us-east-2:111122223333:profile/00000000-0000-0000-0000-000000000001"
		},
		"Endpoint":  func(c *Config) { c.Endpoint = "https://example.com" },
		"FIPS":      func(c *Config) { c.FIPS = true },
		"DualStack": func(c *Config) { c.DualStack = true },
		"Insecure":  func(c *Config) { c.Insecure = true },
	}
	same := map[string]func(*Config){
		"Signer":          func(c *Config) { c.Signer = &signertest.Fake{} },
		"CertificateName": func(c *Config) { c.CertificateName = "cert.pem" },
		"Transport":       func(c *Config) { c.Transport = http.DefaultTransport },
		"Timeout":         func(c *Config) { c.Timeout = time.Second },
		"TouchTimeout":    func(c *Config) { c.TouchTimeout = time.Second },
		"MaxAttempts":     func(c *Config) { c.MaxAttempts = 1 },
		"UserAgent":       func(c *Config) { c.UserAgent = "other" },
		"Now":             func(c *Config) { c.Now = time.Now },
		"Logger":          func(c *Config) { c.Logger = slog.Default() },
	}
	for field := range reflect.TypeFor[Config]().Fields() {
		cfg := base
		if change, ok := changes[field.Name]; ok {
			change(&cfg)
			differs(field.Name, cfg, "identity", "trust")
		} else if change, ok := same[field.Name]; ok {
			change(&cfg)
			if key, err := cfg.CacheKey("identity", "trust"); key != want || err != nil {
				t.Errorf("%s changes the key, %v", field.Name, err)
			}
		} else {
			t.Errorf("the test does not list field %s: does it change the response of the service?", field.Name)
		}
	}

	// Explicit default values do not change the key.
	explicit := base
	explicit.Region, explicit.Endpoint = "us-east-1", "rolesanywhere.us-east-1.amazonaws.com"
	if key, err := explicit.CacheKey("identity", "trust"); key != want || err != nil {
		t.Errorf("the default region and endpoint change the key, %v", err)
	}
	if _, err := (Config{}).CacheKey("identity", "trust"); !errors.Is(err, ErrConfig) {
		t.Errorf("error %v, want ErrConfig", err)
	}
}
