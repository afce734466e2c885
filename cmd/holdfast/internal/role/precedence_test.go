//go:build unix

package role

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	anchor  = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-00000000000"
	profile = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-00000000000"
	arn     = "arn:aws:iam::111122223333:role/app"
)

// A source has the settings from the command line, the environment and the
// file.
type source struct{ flags, env, keys map[string]string }

// setups reads the roles of these sources. The tables of the file are named a,
// b and so on; all have the same keys.
func (s source) setups(t *testing.T, tables int, args ...string) ([]Setup, error) {
	t.Helper()
	var text strings.Builder
	for i := range tables {
		fmt.Fprintf(&text, "[[role]]\nname = %q\n", string(rune('a'+i)))
		for _, key := range slices.Sorted(maps.Keys(s.keys)) {
			fmt.Fprintf(&text, "%s = %s\n", key, s.keys[key])
		}
	}
	if tables > 0 {
		file := filepath.Join(t.TempDir(), "roles.toml")
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", file)
	}
	for name, value := range s.flags {
		args = append(args, "--"+name+"="+value)
	}
	var f Flags
	cmd := new(cobra.Command)
	cmd.SetContext(t.Context())
	f.Add(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return f.Setups(cmd, front.App{
		Store: all.New(), Now: time.Now, Stderr: t.Output(),
		LookupEnv: func(name string) (string, bool) { v, ok := s.env[name]; return v, ok },
	})
}

// base returns the required settings of a role. Each test changes one setting.
func base() source {
	return source{flags: make(map[string]string), env: make(map[string]string), keys: map[string]string{
		"private_key": `"/table.key"`, "certificate": `"/table.pem"`,
		"trust_anchor_arn": fmt.Sprintf("%q", anchor+"1"), "profile_arn": fmt.Sprintf("%q", profile+"1"), "role_arn": fmt.Sprintf("%q", arn),
		"assume.role_arn": fmt.Sprintf("%q", arn+"-second"),
	}}
}

// A setting of a role with a value from each of its sources.
type setting struct {
	name                  string
	flag, variable, key   string // "": no such source
	byFlag, byEnv, byFile string
	byDefault             string
	get                   func(Setup) string
}

// settings lists the settings of a role that have more than one source.
var settings = []setting{
	{"certificate", "certificate", "", "certificate", "/flag.pem", "", `"/table.pem"`, "", func(s Setup) string { return s.Key.Identity.Certificate.String() }},
	{"private key", "private-key", "", "private_key", "/flag.key", "", `"/table.key"`, "", func(s Setup) string { return s.Key.Identity.Key.String() }},
	{"intermediates", "intermediates", "", "intermediates", "/flag.ca", "", `"/table.ca"`, "", func(s Setup) string { return s.Key.Identity.Intermediates.String() }},
	{"PIN source", "pin-source", "", "pin_source", "file:/flag", "", `"file:/table"`, "", func(s Setup) string { return s.Key.PINSource.Ref.String() }},
	{"trust anchor", "trust-anchor-arn", "", "trust_anchor_arn", anchor + "2", "", `"` + anchor + `1"`, "", func(s Setup) string { return s.Config.TrustAnchorARN }},
	{"profile", "profile-arn", "", "profile_arn", profile + "2", "", `"` + profile + `1"`, "", func(s Setup) string { return s.Config.ProfileARN }},
	{"role", "role-arn", "", "role_arn", arn + "2", "", `"` + arn + `"`, "", func(s Setup) string { return s.Config.RoleARN }},
	{"duration", "session-duration", "", "session_duration", "901", "", "902", "0s", func(s Setup) string { return s.Config.Duration.String() }},
	{"session name", "role-session-name", "", "role_session_name", "flag", "", `"table"`, "", func(s Setup) string { return s.Config.SessionName }},
	{"region", "region", "", "region", "us-east-1", "", `"us-west-2"`, "", func(s Setup) string { return s.Config.Region }},
	{"endpoint", "endpoint", "AWS_ENDPOINT_URL_ROLESANYWHERE", "endpoint", "https://flag.example", "https://env.example", `"https://table.example"`, "", func(s Setup) string { return s.Config.Endpoint }},
	{"endpoint for all services", "endpoint", "AWS_ENDPOINT_URL", "endpoint", "https://flag.example", "https://env.example", `"https://table.example"`, "", func(s Setup) string { return s.Config.Endpoint }},
	{"second role", "assume-role-arn", "", "assume.role_arn", arn + "2", "", `"` + arn + `"`, "", func(s Setup) string { return s.Chain.RoleARN }},
	{"name of the second session", "assume-role-session-name", "", "assume.role_session_name", "flag", "", `"table"`, "", func(s Setup) string { return s.Chain.SessionName }},
	{"duration of the second session", "assume-role-session-duration", "", "assume.session_duration", "901", "", "902", "0s", func(s Setup) string { return s.Chain.Duration.String() }},
	{"external ID", "assume-role-external-id", "", "assume.external_id", "flag", "", `"table"`, "", func(s Setup) string { return s.Chain.ExternalID }},
	{"tags", "assume-role-tag", "", "assume.tags", "Team=flag", "", `{ Team = "table" }`, "map[]", func(s Setup) string { return fmt.Sprint(s.Chain.Tags) }},
	{"STS endpoint", "sts-endpoint", "AWS_ENDPOINT_URL_STS", "assume.endpoint", "https://flag.example", "https://env.example", `"https://table.example"`, "", func(s Setup) string { return s.Chain.Endpoint }},
	{"STS endpoint for all services", "sts-endpoint", "AWS_ENDPOINT_URL", "assume.endpoint", "https://flag.example", "https://env.example", `"https://table.example"`, "", func(s Setup) string { return s.Chain.Endpoint }},
	{"FIPS", "fips", "AWS_USE_FIPS_ENDPOINT", "", "false", "true", "", "false", func(s Setup) string { return fmt.Sprint(s.Config.FIPS) }},
	{"dual stack", "dual-stack", "AWS_USE_DUALSTACK_ENDPOINT", "", "false", "true", "", "false", func(s Setup) string { return fmt.Sprint(s.Config.DualStack) }},
}

// For every setting, a flag overrides the environment variable, which overrides
// the file, which overrides the default. TestPrecedenceOfCABundle tests
// AWS_CA_BUNDLE.
func TestPrecedence(t *testing.T) {
	form := map[string]func(string) string{ // parsed form of a value
		"PIN source": func(s string) string { return strings.TrimPrefix(s, "file:") },
		"tags": func(s string) string {
			return map[string]string{"Team=flag": "map[Team:flag]", `{ Team = "table" }`: "map[Team:table]"}[s]
		},
		"duration": func(s string) string { return map[string]string{"901": "15m1s", "902": "15m2s"}[s] },
	}
	form["duration of the second session"] = form["duration"]
	for _, s := range settings {
		for n := range 8 {
			byFlag, byEnv, byFile := n&4 != 0 && s.flag != "", n&2 != 0 && s.variable != "", n&1 != 0 && s.key != ""
			src, want := base(), s.byDefault
			delete(src.keys, s.key)
			as := func(value string) string {
				value = strings.Trim(value, `"`)
				if f := form[s.name]; f != nil {
					return f(value)
				}
				return value
			}
			if byFile {
				src.keys[s.key], want = s.byFile, as(s.byFile)
			}
			if byEnv {
				src.env[s.variable], want = s.byEnv, as(s.byEnv)
			}
			if byFlag {
				src.flags[s.flag], want = s.byFlag, as(s.byFlag)
			}
			setups, err := src.setups(t, 1)
			if needed := want == "" && slices.Contains([]string{"trust anchor", "profile", "role"}, s.name); needed || want == "us-west-2" {
				if err == nil {
					t.Errorf("%s: no error for a missing value", s.name)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s, flag %t, variable %t, file %t: %v", s.name, byFlag, byEnv, byFile, err)
			} else if got := s.get(setups[0]); got != want {
				t.Errorf("%s, flag %t, variable %t, file %t: %q, want %q", s.name, byFlag, byEnv, byFile, got, want)
			}
		}
	}
}

// The table of settings contains every key of a [[role]] that also has a flag,
// and docs/configuration.md contains every key.
func TestSettingsAreComplete(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for field := range reflect.TypeFor[table]().Fields() {
		key := field.Tag.Get("toml")
		if field.Type.Kind() != reflect.Pointer {
			keys = append(keys, key)
			continue
		}
		for inner := range field.Type.Elem().Fields() {
			if inner.IsExported() {
				keys = append(keys, key+"."+inner.Tag.Get("toml"))
			}
		}
	}
	for _, key := range keys {
		if slices.Contains([]string{"name", "port", "assume.transitive_tag_keys"}, key) {
			// --role and --port have another meaning. The keys of
			// transitive tags are one setting with the tags.
		} else if strings.HasPrefix(key, "renew.") {
			// See TestPrecedenceOfRenewal.
		} else if !slices.ContainsFunc(settings, func(s setting) bool { return s.key == key }) {
			t.Errorf("the table of settings does not have %s", key)
		}
		if !strings.Contains(string(page), "`"+key+"`") {
			t.Errorf("docs/configuration.md does not have %s", key)
		}
	}
}

// A key is a single setting: with a key from flags, nothing of the key of the
// file is used.
func TestPrecedenceOfKeys(t *testing.T) {
	for _, test := range []struct {
		name  string
		flags map[string]string
		want  string // certificate, key, intermediates, PIN source
	}{
		{"nothing", nil, "/table.pem /table.key /table.ca /table-pin"},
		{"a key", map[string]string{"private-key": "/flag.key"}, " /flag.key  "},
		{"a certificate", map[string]string{"certificate": "/flag.p12"}, "/flag.p12   "},
		{"all", map[string]string{"certificate": "/flag.pem", "private-key": "/flag.key", "intermediates": "/flag.ca", "pin-source": "file:/flag-pin"},
			"/flag.pem /flag.key /flag.ca /flag-pin"},
		{"intermediates", map[string]string{"intermediates": "/flag.ca"}, "/table.pem /table.key /flag.ca /table-pin"},
		{"a PIN source", map[string]string{"pin-source": "file:/flag-pin"}, "/table.pem /table.key /table.ca /flag-pin"},
		{"a password", map[string]string{"pkcs8-password": "x"}, "/table.pem /table.key /table.ca "},
		{"no password", map[string]string{"no-tpm-key-password": "true"}, "/table.pem /table.key /table.ca "},
		{"the newest certificate", map[string]string{"use-latest-expiring-certificate": "true", "certificate": "/flag.pem"}, "/flag.pem   "},
	} {
		src := base()
		src.keys["intermediates"], src.keys["pin_source"] = `"/table.ca"`, `"file:/table-pin"`
		maps.Copy(src.flags, test.flags)
		setups, err := src.setups(t, 1)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		k := setups[0].Key
		if got := fmt.Sprint(k.Identity.Certificate, " ", k.Identity.Key, " ", k.Identity.Intermediates, " ", k.PINSource.Ref); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// A flag applies to all roles of a file, except for --role-arn and a PIN.
func TestPrecedenceForSeveralRoles(t *testing.T) {
	src := base()
	src.flags["endpoint"] = "https://flag.example"
	setups, err := src.setups(t, 3)
	if err != nil || len(setups) != 3 {
		t.Fatalf("%d roles, %v", len(setups), err)
	}
	for _, s := range setups {
		if s.Config.Endpoint != "https://flag.example" {
			t.Errorf("role %s: endpoint %q", s.Name, s.Config.Endpoint)
		}
	}
	setups, err = src.setups(t, 3, "--role", "b")
	if err != nil || len(setups) != 1 || setups[0].Name != "b" {
		t.Errorf("--role: %d roles, %v", len(setups), err)
	}
	src.flags["role-arn"] = arn + "2"
	if _, err = src.setups(t, 3); err == nil || !strings.Contains(err.Error(), "--role-arn") {
		t.Errorf("one ARN for three roles: %v", err)
	}
	if setups, err = src.setups(t, 3, "--role", "b"); err != nil || setups[0].Config.RoleARN != arn+"2" {
		t.Errorf("--role and --role-arn: %v", err)
	}
	if _, err = src.setups(t, 3, "--role", "d"); err == nil || !strings.Contains(err.Error(), "--role d") {
		t.Errorf("--role of none: %v", err)
	}
	if _, err = src.setups(t, 0, "--role", "a"); err == nil || !strings.Contains(err.Error(), "--config") {
		t.Errorf("--role without a file: %v", err)
	}
}

// --ca-bundle overrides AWS_CA_BUNDLE, which overrides the CAs of the system.
func TestPrecedenceOfCABundle(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.pem")
	if err := os.WriteFile(good, signertest.CertPEM(signertest.NewCA(t, "root").Cert), 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none.pem")
	for _, test := range []struct {
		flag, variable string
		culprit        string // in the error; "": no error
	}{
		{"", "", ""},
		{good, "", ""},
		{good, none, ""},
		{none, good, "--ca-bundle " + none},
		{"", good, ""},
		{"", none, "AWS_CA_BUNDLE " + none},
	} {
		src := base()
		if test.flag != "" {
			src.flags["ca-bundle"] = test.flag
		}
		src.env["AWS_CA_BUNDLE"] = test.variable
		_, err := src.setups(t, 1)
		if test.culprit == "" && err != nil || test.culprit != "" && (err == nil || !strings.Contains(err.Error(), test.culprit)) {
			t.Errorf("flag %q, variable %q: %v", test.flag, test.variable, err)
		}
	}
}
