package emulator

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
)

func write(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadConfig(t *testing.T) {
	ca := newRoot(t, caTemplate("Root"))
	other := newRoot(t, caTemplate("Other"))
	dir := t.TempDir()
	write(t, dir, "ca.pem", ca.pem())
	absolute := write(t, t.TempDir(), "other.pem", other.pem())
	write(t, dir, "ca.crl", ca.crl(t, 1))
	write(t, dir, "policy.json", []byte(policyWith(`{}`)))
	path := write(t, dir, "emulator.toml", []byte(`
region = "eu-west-1"
account = "444455556666"
state = "state"

[[trust_anchors]]
certificate_files = ["ca.pem"]
crl_files = ["ca.crl"]

[[trust_anchors]]
arn = "arn:aws:rolesanywhere:eu-west-1:444455556666:trust-anchor/TA_ID"
certificate_files = ['`+absolute+`']

[[roles]]
arn = "arn:aws:iam::444455556666:role/one"
max_session_duration = 7200
trust_policy_file = "policy.json"

[[roles]]
arn = "arn:aws:iam::444455556666:role/two"
trust_policy = '''`+policyWith(`{}`)+`'''

[[profiles]]
role_arns = ["arn:aws:iam::444455556666:role/two"]
duration_seconds = 900
accept_role_session_name = true
disabled = true

[rates]
AssumeRole = 600
CreateSession = 1.5

[caller_rates]
AssumeRole = 20

[faults]
latency = "50ms"
error_rate = 0.25
error_status = 429
hang = true
session_lifetime = "2s"
in_progress = 3
`))
	cfg, err := LoadConfig(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Faults{50 * time.Millisecond, 0.25, 429, true, 2 * time.Second, 3}); cfg.Faults != want {
		t.Errorf("faults are %+v, want %+v", cfg.Faults, want)
	}
	s := newServer(t, cfg)
	if s.limits.all["AssumeRole"].rate != 600 || s.limits.all["CreateSession"].rate != 1.5 || len(s.limits.all) != 2 {
		t.Errorf("rates are %v", cfg.Rates)
	}
	if s.limits.each["AssumeRole"].rate != 20 || len(s.limits.each) != 1 {
		t.Errorf("rates of a caller are %v", cfg.CallerRates)
	}
	if !s.HasState() || cfg.State != filepath.Join(dir, "state") {
		t.Errorf("state is %q", cfg.State)
	}
	for _, tt := range []struct{ got, want []string }{
		{s.TrustAnchorARNs(), []string{
			"arn:aws:rolesanywhere:eu-west-1:444455556666:trust-anchor/00000000-0000-0000-0000-000000000001",
			"arn:aws:rolesanywhere:eu-west-1:444455556666:trust-anchor/TA_ID"}},
		{s.ProfileARNs(), []string{"arn:aws:rolesanywhere:eu-west-1:444455556666:profile/00000000-0000-0000-0000-000000000001"}},
		{s.RoleARNs(), []string{"arn:aws:iam::444455556666:role/one", "arn:aws:iam::444455556666:role/two"}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("ARNs are %v, want %v", tt.got, tt.want)
		}
	}
	p, _ := s.profiles.get(s.ProfileARNs()[0])
	if p.DurationSeconds != 900 || !p.AcceptRoleSessionName || p.Enabled || !slices.Equal(p.RoleARNs, s.RoleARNs()[1:]) {
		t.Errorf("profile is %+v", p)
	}
	for _, arn := range s.RoleARNs() {
		if r, _ := s.roles.get(arn); r.policy == nil {
			t.Errorf("role %s has no policy", arn)
		}
	}
	if n := len(s.lists(s.TrustAnchorARNs()[0])); n != 1 {
		t.Errorf("%d CRLs", n)
	}
}

func TestDefaults(t *testing.T) {
	s := newServer(t, Config{TrustAnchors: []TrustAnchor{{Certificates: newRoot(t, caTemplate("Root")).pem()}}})
	for _, tt := range []struct{ got, want []string }{
		{s.TrustAnchorARNs(), []string{"arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"}},
		{s.ProfileARNs(), []string{"arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"}},
		{s.RoleARNs(), []string{"arn:aws:iam::111122223333:role/demo"}},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("ARNs are %v, want %v", tt.got, tt.want)
		}
		tt.got[0] = "changed"
	}
	if s.RoleARNs()[0] == "changed" {
		t.Error("a caller can change the server's ARNs")
	}
}

func TestLoadConfigErrors(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"unknown key":       "regoin = \"x\"",
		"unknown inner key": "[[roles]]\narm = \"x\"",
		"code-only key":     "Now = 1",
		"inline bytes":      "[[trust_anchors]]\ncertificates = \"x\"",
		"type":              "region = 1",
		"duration":          "[faults]\nlatency = \"soon\"",
		"syntax":            "region = ",
		"too large":         "#" + strings.Repeat("x", maxFile),
	} {
		if _, err := LoadConfig(write(t, dir, "x.toml", []byte(text))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// An empty value gives no access to everybody.
	for key, text := range map[string]string{
		"trust_policy of role 2":      "[[roles]]\n[[roles]]\ntrust_policy = \"\"",
		"trust_policy_file of role 1": "[[roles]]\ntrust_policy_file = \"\"",
		"role_arns of profile 1":      "[[profiles]]\nrole_arns = []",
		"role_arns of the private CA": "[private_ca]\nrole_arns = []",
	} {
		if _, err := LoadConfig(write(t, dir, "x.toml", []byte(text))); err == nil || !strings.Contains(err.Error(), key+" is empty") {
			t.Errorf("%s: error is %v", key, err)
		}
	}
	_, err := LoadConfig(write(t, dir, "x.toml", []byte("region = \"x\"\n[[roles]]\narm = \"x\"\n[faults]\nrate = 1")))
	if err == nil || !strings.Contains(err.Error(), "roles.arm") || !strings.Contains(err.Error(), "faults.rate") {
		t.Errorf("error does not name the unknown keys: %v", err)
	}
	_, err = LoadConfig(write(t, dir, "x.toml", []byte("[faults]\n\nlatency = \"soon\"")))
	var parse toml.ParseError
	if !errors.As(err, &parse) || parse.Position.Line != 3 {
		t.Errorf("error does not contain the line: %v", err)
	}
	if _, err := LoadConfig(filepath.Join(dir, "none.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := LoadConfig(dir); err == nil {
		t.Error("a folder is accepted as a file")
	}
	if _, err := LoadConfig(os.DevNull); err == nil {
		t.Error("a device is accepted as a file")
	}
}

// A profile without roles has all roles of its own account.
func TestRolesOfProfiles(t *testing.T) {
	const first, second = "arn:aws:iam::111122223333:role/first", "arn:aws:iam::111122223333:role/second"
	other := strings.Replace(first, "111122223333", "444455556666", 1)
	otherProfile := DefaultProfileARN(DefaultRegion, "444455556666", 1)
	s := newServer(t, Config{
		TrustAnchors: []TrustAnchor{{Certificates: newRoot(t, caTemplate("Root")).pem()}},
		Roles:        []Role{{ARN: first}, {ARN: other}, {ARN: second}},
		Profiles:     []Profile{{}, {RoleARNs: []string{second}}, {ARN: otherProfile}},
	})
	for arn, want := range map[string][]string{
		testProfile: {first, second}, DefaultProfileARN(DefaultRegion, DefaultAccount, 2): {second}, otherProfile: {other},
	} {
		if p, _ := s.profiles.get(arn); !slices.Equal(p.RoleARNs, want) {
			t.Errorf("profile %s has roles %v, want %v", arn, p.RoleARNs, want)
		}
	}
	if got := s.SecondRoleARNs(); len(got) > 0 {
		t.Errorf("second roles are %v", got)
	}
	without := newServer(t, Config{
		TrustAnchors: []TrustAnchor{{Certificates: newRoot(t, caTemplate("Root")).pem()}},
		Roles:        []Role{{ARN: first}, {ARN: other}},
	})
	if got := without.SecondRoleARNs(); !slices.Equal(got, []string{other}) {
		t.Errorf("second roles are %v", got)
	}
	if want := []string{first, other, second}; !slices.Equal(s.RoleARNs(), want) {
		t.Errorf("roles are %v", s.RoleARNs())
	}
}

func TestNewErrors(t *testing.T) {
	ca := newRoot(t, caTemplate("Root"))
	change := func(f func(*Config)) Config {
		cfg := Config{TrustAnchors: []TrustAnchor{{Certificates: ca.pem()}}}
		f(&cfg)
		return cfg
	}
	anchor := func(b []byte) Config {
		return change(func(c *Config) { c.TrustAnchors[0].Certificates = b })
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte{1}})
	missing := "arn:aws:iam::111122223333:role/other"
	for name, cfg := range map[string]Config{
		"region":                 change(func(c *Config) { c.Region = "here" }),
		"account":                change(func(c *Config) { c.Account = "1" }),
		"no certificate":         anchor(nil),
		"not PEM":                anchor([]byte("x")),
		"a key":                  anchor(append(ca.pem(), key...)),
		"broken certificate":     anchor(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})),
		"three certificates":     anchor(slices.Concat(ca.pem(), newRoot(t, caTemplate("2")).pem(), newRoot(t, caTemplate("3")).pem())),
		"no certificate file":    change(func(c *Config) { c.TrustAnchors[0].CertificateFiles = []string{"/nonexistent/ca.pem"} }),
		"certificate not a file": change(func(c *Config) { c.TrustAnchors[0].CertificateFiles = []string{os.DevNull} }),
		"three CRLs":             change(func(c *Config) { c.TrustAnchors[0].CRLs = [][]byte{ca.crl(t), ca.crl(t), ca.crl(t)} }),
		"broken CRL":             change(func(c *Config) { c.TrustAnchors[0].CRLs = [][]byte{ca.pem()} }),
		"no CRL file":            change(func(c *Config) { c.TrustAnchors[0].CRLFiles = []string{"/nonexistent/ca.crl"} }),
		"anchor ARN":             change(func(c *Config) { c.TrustAnchors[0].ARN = testProfile }),
		"anchor's region":        change(func(c *Config) { c.TrustAnchors[0].ARN = DefaultTrustAnchorARN("eu-west-1", DefaultAccount, 1) }),
		"anchor's partition":     change(func(c *Config) { c.TrustAnchors[0].ARN = strings.Replace(testAnchor, "arn:aws:", "arn:aws-cn:", 1) }),
		"anchor twice": change(func(c *Config) {
			c.TrustAnchors = append(c.TrustAnchors, TrustAnchor{ARN: testAnchor, Certificates: ca.pem()})
		}),
		"role ARN":            change(func(c *Config) { c.Roles = []Role{{ARN: testAnchor}} }),
		"role's partition":    change(func(c *Config) { c.Roles = []Role{{ARN: DefaultRoleARN("cn-north-1", DefaultAccount)}} }),
		"role twice":          change(func(c *Config) { c.Roles = []Role{{}, {ARN: testRole}} }),
		"second role's ARN":   change(func(c *Config) { c.Roles = []Role{{}, {}} }),
		"role duration":       change(func(c *Config) { c.Roles = []Role{{MaxSessionDuration: 900}} }),
		"role duration, long": change(func(c *Config) { c.Roles = []Role{{MaxSessionDuration: maxDuration + 1}} }),
		"policy":              change(func(c *Config) { c.Roles = []Role{{TrustPolicy: "{}"}} }),
		"policy twice":        change(func(c *Config) { c.Roles = []Role{{TrustPolicy: policyWith("{}"), TrustPolicyFile: "x"}} }),
		"no policy file":      change(func(c *Config) { c.Roles = []Role{{TrustPolicyFile: "/nonexistent/policy.json"}} }),
		"profile ARN":         change(func(c *Config) { c.Profiles = []Profile{{ARN: testAnchor}} }),
		"profile's region":    change(func(c *Config) { c.Profiles = []Profile{{ARN: DefaultProfileARN("eu-west-1", DefaultAccount, 1)}} }),
		"profile twice":       change(func(c *Config) { c.Profiles = []Profile{{}, {ARN: testProfile}} }),
		"profile duration":    change(func(c *Config) { c.Profiles = []Profile{{DurationSeconds: 899}} }),
		"profile, no role":    change(func(c *Config) { c.Profiles = []Profile{{RoleARNs: []string{missing}}} }),
		"profile, other account": change(func(c *Config) {
			c.Roles, c.Profiles = []Role{{}, {ARN: otherRole}}, []Profile{{RoleARNs: []string{testRole, otherRole}}}
		}),
		"profile without own roles": change(func(c *Config) { c.Roles = []Role{{ARN: otherRole}} }),
		"role name twice": change(func(c *Config) {
			c.Roles = []Role{{ARN: testRole}, {ARN: strings.Replace(testRole, "role/", "role/path/", 1)}}
		}),
		"role name twice, case": change(func(c *Config) {
			c.Roles = []Role{{ARN: baseRole}, {ARN: strings.Replace(baseRole, "base", "BASE", 1)}}
		}),
		"principal's partition": change(func(c *Config) {
			c.Roles = []Role{{TrustPolicy: strings.Replace(chainPolicy(allActions, "{}"), "arn:aws:", "arn:aws-cn:", 1)}}
		}),
		"rate":          change(func(c *Config) { c.Faults.ErrorRate = 1.1 }),
		"negative rate": change(func(c *Config) { c.Faults.ErrorRate = -0.1 }),
		"status":        change(func(c *Config) { c.Faults.ErrorStatus = 200 }),
		"latency":       change(func(c *Config) { c.Faults.Latency = -1 }),
		"lifetime":      change(func(c *Config) { c.Faults.SessionLifetime = -1 }),
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNewRefusesAnchor(t *testing.T) {
	ca := newRoot(t, caTemplate("Root"))
	notCA := caTemplate("x")
	notCA.IsCA = false
	notSigning := caTemplate("x")
	notSigning.KeyUsage = 4
	for name, cert := range map[string]certKey{
		"leaf":           ca.issue(t, leafTemplate("x")),
		"CA:FALSE":       ca.issue(t, notCA),
		"no keyCertSign": ca.issue(t, notSigning),
		"version 1":      {cert: ca.version1(t, caTemplate("x"), ca.key.Public())},
	} {
		if _, err := New(Config{TrustAnchors: []TrustAnchor{{Certificates: cert.pem()}}}); !errors.Is(err, ErrBasicConstraints) {
			t.Errorf("%s: %v, want ErrBasicConstraints", name, err)
		}
	}
	weak := caTemplate("SHA-1")
	weak.SignatureAlgorithm = 3
	cert := certify(t, weak, weak, rsaKey().Public(), rsaKey())
	if _, err := New(Config{TrustAnchors: []TrustAnchor{{Certificates: certKey{cert: cert}.pem()}}}); err == nil || errors.Is(err, ErrBasicConstraints) {
		t.Errorf("SHA-1: %v", err)
	}
	long := caTemplate("long")
	for n := range 1000 {
		long.DNSNames = append(long.DNSNames, fmt.Sprintf("host-%d.example", n))
	}
	if _, err := New(Config{TrustAnchors: []TrustAnchor{{Certificates: newRoot(t, long).pem()}}}); err == nil || !strings.Contains(err.Error(), "at most 16000") {
		t.Errorf("too long: %v", err)
	}
	commented := append(bytes.Repeat([]byte("text\n"), 4000), ca.pem()...)
	if _, err := New(Config{TrustAnchors: []TrustAnchor{{Certificates: commented}}}); err != nil {
		t.Errorf("text around the certificate: %v", err)
	}
}

func TestParseARN(t *testing.T) {
	for _, tt := range []struct {
		s, kind string
		want    arn // zero: an error
	}{
		{"arn:aws:iam::111122223333:role/a", "role", arn{"aws", "", "111122223333", "a"}},
		{"arn:aws-us-gov:iam::111122223333:role/a_+=,.@-/B/9", "role", arn{"aws-us-gov", "", "111122223333", "9"}},
		{"arn:aws:rolesanywhere:us-east-1:111122223333:profile/x", "profile", arn{"aws", "us-east-1", "111122223333", "x"}},
		{"arn:aws-iso:rolesanywhere:us-iso-east-1:111122223333:trust-anchor/x", "trust-anchor", arn{"aws-iso", "us-iso-east-1", "111122223333", "x"}},
		{"", "role", arn{}},
		{"arn:aws:iam::111122223333:role", "role", arn{}},
		{"arn:aws:iam::111122223333:role/", "role", arn{}},
		{"arn:aws:iam::111122223333:role//a", "role", arn{}},
		{"arn:aws:iam::111122223333:role/a:b", "role", arn{}},
		{"arn:aws:iam::111122223333:role/ä", "role", arn{}},
		{"arn:aws:iam::111122223333:user/a", "role", arn{}},
		{"arn:aws:iam::11112222333:role/a", "role", arn{}},
		{"arn:aws:iam::11112222333x:role/a", "role", arn{}},
		{"arn:aws:iam:x:111122223333:role/a", "role", arn{}},
		{"arn:amazon:iam::111122223333:role/a", "role", arn{}},
		{"arn:aws-:x:iam::111122223333:role/a", "role", arn{}},
		{"urn:aws:iam::111122223333:role/a", "role", arn{}},
		{"arn:aws:rolesanywhere::111122223333:profile/x", "profile", arn{}},
		{"arn:aws:rolesanywhere:us-1:111122223333:profile/x", "profile", arn{}},
		{"arn:aws:rolesanywhere:us-east:111122223333:profile/x", "profile", arn{}},
		{"arn:aws:rolesanywhere:us--1:111122223333:profile/x", "profile", arn{}},
		{"arn:aws:rolesanywhere:US-east-1:111122223333:profile/x", "profile", arn{}},
		{"arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/x", "profile", arn{}},
	} {
		if got, err := parseARN(tt.s, tt.kind); got != tt.want || (err == nil) != (tt.want != arn{}) {
			t.Errorf("parseARN(%q) = %+v, %v", tt.s, got, err)
		}
	}
}
