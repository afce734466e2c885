//go:build unix

package local

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator"
)

// A flag overrides the file, even with the zero value.
func TestEmulatorPrecedence(t *testing.T) {
	const anchors = "[[trust_anchors]]\ncertificate_files = [\"/file.pem\"]\n"
	for _, test := range []struct {
		flag, byFlag string
		byFile       string
		fromFlag     string
		fromFile     string
		byDefault    string
		get          func(emulator.Config) any
	}{
		{"region", "eu-west-1", `region = "eu-west-2"` + "\n" + anchors, "eu-west-1", "eu-west-2", "", func(c emulator.Config) any { return c.Region }},
		{"account", "111111111111", `account = "222222222222"` + "\n" + anchors, "111111111111", "222222222222", "", func(c emulator.Config) any { return c.Account }},
		{"latency", "0s", anchors + "[faults]\nlatency = \"1s\"\n", "0s", "1s", "0s", func(c emulator.Config) any { return c.Faults.Latency }},
		{"error-rate", "0", anchors + "[faults]\nerror_rate = 0.5\n", "0", "0.5", "0", func(c emulator.Config) any { return c.Faults.ErrorRate }},
		{"error-status", "503", anchors + "[faults]\nerror_status = 429\n", "503", "429", "0", func(c emulator.Config) any { return c.Faults.ErrorStatus }},
		{"hang", "false", anchors + "[faults]\nhang = true\n", "false", "true", "false", func(c emulator.Config) any { return c.Faults.Hang }},
		{"session-lifetime", "0s", anchors + "[faults]\nsession_lifetime = \"5s\"\n", "0s", "5s", "0s", func(c emulator.Config) any { return c.Faults.SessionLifetime }},
		{"trust-anchor", "/flag.pem", anchors, "[/flag.pem]", "[/file.pem]", "", func(c emulator.Config) any { return c.TrustAnchors[0].CertificateFiles }},
		{"crl", "/flag.crl", anchors + "crl_files = [\"/file.crl\"]\n", "[/flag.crl]", "[/file.crl]", "[]", func(c emulator.Config) any { return c.TrustAnchors[0].CRLFiles }},
		{"trust-policy", "/flag.json", anchors + "[[roles]]\ntrust_policy_file = \"/file.json\"\n", "/flag.json", "/file.json", "", func(c emulator.Config) any {
			if len(c.Roles) == 0 {
				return ""
			}
			return c.Roles[0].TrustPolicyFile
		}},
	} {
		file := filepath.Join(t.TempDir(), "emulator.toml")
		for n := range 4 {
			byFlag, byFile := n&2 != 0, n&1 != 0
			text, want := anchors, test.byDefault
			if byFile {
				text, want = test.byFile, test.fromFile
			}
			args := []string{"--config", file}
			if byFlag {
				args, want = append(args, "--"+test.flag+"="+test.byFlag), test.fromFlag
			}
			if test.flag == "trust-anchor" && n == 0 {
				continue // a trust anchor is required
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var f emulatorFlags
			fs := pflag.NewFlagSet("", pflag.ContinueOnError)
			f.add(fs)
			if err := fs.Parse(args); err != nil {
				t.Fatal(err)
			}
			cfg, err := f.resolve(fs.Changed)
			if err != nil {
				t.Errorf("%s: %v", test.flag, err)
			} else if got := fmt.Sprint(test.get(cfg)); got != want {
				t.Errorf("%s, flag %t, file %t: %s, want %s", test.flag, byFlag, byFile, got, want)
			}
		}
	}
}
