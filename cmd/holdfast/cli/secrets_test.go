package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore/all"
)

const secret = "s3cr3t!"

// inWrongPlaces are references with a secret that people write where another
// value belongs.
var inWrongPlaces = []string{
	"pkcs11:token=t;object=o?pin-value=" + secret,
	"pkcs11:token=t;pin-value=" + secret + ";object=o",
	"pin-value=" + secret,
	"pass:" + secret,
	"x:pin%2Dvalue=" + secret,
	"pkcs11:token=t;user-pin=" + secret,
	"tpm:path=x;parent-auth=" + secret,
}

// runWithSecret runs a command line with an environment and returns what it
// printed. Commands that serve end at once.
func runWithSecret(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	a, _, _ := testApp()
	a.Stdout, a.Stderr, a.Stdin = &out, &out, strings.NewReader("")
	a.Store = all.New()
	a.LookupEnv = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	a.Environ = func() []string { return nil }
	a.OpenTTY = func() (front.TTY, error) { return nil, errors.New("none") }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Run(ctx, args)
	return out.String()
}

// No message repeats a PIN that was given in the wrong place: as a stray
// argument, as the value of any flag, or attached to a misspelled one.
func TestArgumentsShowNoSecret(t *testing.T) {
	t.Chdir(t.TempDir())
	good := []string{
		"--certificate=cert.pem", "--private-key=key.pem", "--trust-anchor-arn=arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/a",
		"--profile-arn=arn:aws:rolesanywhere:us-east-1:111122223333:profile/a", "--role-arn=arn:aws:iam::111122223333:role/a", "--timeout=1ms",
	}
	root := tree(t)
	n := 0
	for _, line := range commandLines(t) {
		cmd, _, err := root.Find(line)
		if err != nil {
			t.Fatal(err)
		}
		base := line
		if cmd.Flags().Lookup("certificate") != nil {
			base = slices.Concat(line, good)
		}
		for _, value := range inWrongPlaces {
			lines := [][]string{
				append(slices.Clone(line), value),
				append(slices.Clone(base), value),
				append(slices.Clone(base), "-"+value),
				append(slices.Clone(base), "--no-such-flag="+value),
				append(slices.Clone(base), "--no-such-flag", value),
				append(slices.Clone(base), "--="+value),
				append([]string{value}, line...),
			}
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				lines = append(lines, append(slices.Clone(line), "--"+f.Name+"="+value), append(slices.Clone(base), "--"+f.Name+"="+value))
			})
			for _, args := range lines {
				if n++; strings.Contains(runWithSecret(t, nil, args...), secret) {
					t.Errorf("%q:\n%s", args, runWithSecret(t, nil, args...))
				}
			}
		}
	}
	if n < 2000 {
		t.Errorf("%d command lines", n)
	}
}

// An argument after a flag for PINs or passwords may be one.
func TestArgumentAfterPINFlag(t *testing.T) {
	for _, args := range [][]string{
		{"--reuse-pin", secret}, {"--no-tpm-key-password", secret}, {"--pin-source", "prompt", secret}, {"--pkcs8-password", "open", secret},
		{"--reuse-pin=" + secret}, {"--no-tpm-key-password=" + secret}, {"-p" + secret}, {"-pkcs8-password=" + secret}, {"--pkcs8-pasword=" + secret},
		{"--private-key=pin=" + secret}, {"password=" + secret}, {"pin=" + secret}, {"env:PIN=" + secret},
		{"HOLDFAST_PIN=" + secret}, {"x-auth-code=" + secret}, {"--private-key=pkcs11:token=t?code=" + secret},
	} {
		if out := runWithSecret(t, nil, append([]string{"credential-process"}, args...)...); strings.Contains(out, secret) || out == "" {
			t.Errorf("%q: %s", args, out)
		}
	}
	for _, flag := range []string{"--pin-source", "--pin-source=", "--private-key=key.pem --pin-source="} {
		args := append([]string{"generate"}, strings.Fields(flag+" 12345678")...)
		if strings.HasSuffix(flag, "=") {
			args = append([]string{"generate"}, strings.Fields(flag+"12345678")...)
		}
		if out := runWithSecret(t, nil, append(args, "--private-key=tpm:path=x")...); strings.Contains(out, "12345678") {
			t.Errorf("%q: %s", args, out)
		}
	}
}

// Messages about variables and the configuration file do not repeat a PIN in
// them.
func TestSettingsShowNoSecret(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, value := range inWrongPlaces {
		for _, name := range []string{"AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_CA_BUNDLE", "TPM_DEVICE"} {
			for _, key := range []string{"key.pem", "tpm:path=key.pem"} {
				out := runWithSecret(t, map[string]string{name: value}, "credential-process", "--private-key", key,
					"--trust-anchor-arn=arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/a",
					"--profile-arn=arn:aws:rolesanywhere:us-east-1:111122223333:profile/a", "--role-arn=arn:aws:iam::111122223333:role/a")
				if strings.Contains(out, secret) || out == "" {
					t.Errorf("%s=%s: %s", name, value, out)
				}
			}
		}
		for _, key := range []string{
			"name", "certificate", "private_key", "intermediates", "pin_source", "trust_anchor_arn", "profile_arn",
			"role_arn", "region", "endpoint", "session_duration", "role_session_name", "port", "no_such_key",
		} {
			for _, text := range []string{
				"[[role]]\nname = \"a\"\n" + key + " = \"" + value + "\"\n",
				"[[role]]\nname = \"a\"\n" + key + " = " + value + "\n",
				"[[role]]\nname = \"a\"\n\"" + value + "\" = 1\n",
				value + "\n",
			} {
				if err := os.WriteFile("roles.toml", []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				if out := runWithSecret(t, nil, "exec", "--config", "roles.toml", "--", filepath.Join("/", "bin", "sh")); strings.Contains(out, secret) || out == "" {
					t.Errorf("%s: %s", text, out)
				}
			}
		}
	}
}
