//go:build unix

package role

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A flag with a PIN does not apply to the keys of several roles. With a key from
// flags, all roles have the same key, and the PIN belongs to it.
func TestPINForSeveralRoles(t *testing.T) {
	for _, flag := range []string{"--pin-source=file:pin", "--pin-source=prompt", "--pkcs8-password=x", "--tpm-key-password=x", "--no-tpm-key-password"} {
		name, _, _ := strings.Cut(flag, "=")
		for _, extra := range []string{"", "--intermediates=/flag.ca"} {
			_, err := base().setups(t, 2, strings.Fields(flag+" "+extra)...)
			var usage *front.UsageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), name+" ") || !strings.Contains(signer.Hint(err), "pin_source") {
				t.Errorf("%s %s: %v, hint %q", flag, extra, err, signer.Hint(err))
			}
		}
		for _, one := range []string{"--role=b", "--certificate=/flag.p12", "--private-key=/flag.key"} {
			if _, err := base().setups(t, 2, flag, one); err != nil {
				t.Errorf("%s %s: %v", flag, one, err)
			}
		}
	}
	if _, err := base().setups(t, 2, "--pin-source=", "--pkcs8-password=", "--no-tpm-key-password=false"); err != nil {
		t.Errorf("no PIN: %v", err)
	}
}

// Variables has the variables of all roles and flags, also of those that are not
// used.
func TestVariables(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "roles.toml")
	text := goodTable + "pin_source = \"env:FIRST\"\n" +
		strings.NewReplacer(`"app"`, `"other"`, `"cert.pem"`, `"pkcs11:object=a?pin-source=env:ATTRIBUTE"`, `"/keys/key.pem"`, `"env:KEY"`).Replace(goodTable) + "pin_source = \"env:SECOND\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	of := []string{"ATTRIBUTE", "FIRST", "KEY", "SECOND"}
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"--config", file}, of},
		{[]string{"--config", file, "--role", "app"}, of},
		{[]string{"--config", file, "--role", "app", "--pin-source", "env:THIRD"}, append(of, "THIRD")},
		{[]string{"--config", file, "--role", "other", "--certificate", "env:CERT"}, append([]string{"ATTRIBUTE", "CERT"}, of[1:]...)},
		{[]string{"--private-key", "env:KEY", "--pin-source", "env:PIN", "--trust-anchor-arn", anchor + "1", "--profile-arn", profile + "1", "--role-arn", arn}, []string{"KEY", "PIN"}},
	} {
		setups, err := source{}.setups(t, 0, test.args...)
		if err != nil {
			t.Errorf("%q: %v", test.args, err)
			continue
		}
		for _, s := range setups {
			if slices.Sort(s.Variables); !slices.Equal(slices.Compact(s.Variables), test.want) {
				t.Errorf("%q: role %s: %q, want %q", test.args, s.Name, s.Variables, test.want)
			}
		}
	}
}

// With a file, an error keeps its own hint, which can name a flag or a variable.
func TestHintsWithAFile(t *testing.T) {
	for _, test := range []struct {
		flags, env, keys map[string]string
		hint             string
	}{
		{map[string]string{"region": "eu-west-1"}, nil, nil, "--region"},
		{map[string]string{"endpoint": "https://flag.example", "fips": "true"}, nil, nil, "--fips"},
		{nil, map[string]string{"AWS_USE_FIPS_ENDPOINT": "true"}, map[string]string{"endpoint": `"https://table.example"`}, "AWS_USE_FIPS_ENDPOINT"},
		{map[string]string{"role-arn": "app"}, nil, nil, ":role/"},
		{nil, nil, map[string]string{"session_duration": "1"}, "docs/configuration.md"},
		{nil, nil, map[string]string{"private_key": `"env:"`}, "docs/references.md"},
		{nil, nil, map[string]string{"pin_source": `"file:%zz"`}, "file:PATH"},
	} {
		src := base()
		src.flags, src.env = test.flags, test.env
		maps.Copy(src.keys, test.keys)
		_, err := src.setups(t, 1)
		if err == nil {
			t.Errorf("%+v: no error", test)
			continue
		}
		if code, hint := front.Explain(err); code != front.ExitUsage || !strings.Contains(hint, test.hint) || !strings.Contains(err.Error(), `role 1 "a"`) {
			t.Errorf("%+v: exit code %d, %v, hint %q", test, code, err, hint)
		}
	}
}

// An error for an invalid reference in a file names the file and the role, also
// if only the backend detects it. It does not name them for a reference in a
// flag.
func TestInvalidReferences(t *testing.T) {
	for _, test := range []struct {
		args []string
		keys map[string]string
		file bool // the reference is in the file
	}{
		{nil, map[string]string{"private_key": `"tpm:nosuch=1"`}, true},
		{nil, map[string]string{"private_key": `"nosuch:x"`}, true},
		{nil, map[string]string{"private_key": `"env:"`}, true},
		{nil, map[string]string{"certificate": `"nosuch:x"`, "private_key": `"` + keyFile(t) + `"`}, true},
		{nil, map[string]string{"pin_source": `"nosuch:x"`}, true},
		{[]string{"--pin-source=file:pin"}, map[string]string{"private_key": `"tpm:nosuch=1"`}, true},
		{[]string{"--pin-source=nosuch:x"}, nil, false},
		{[]string{"--private-key=tpm:nosuch=1"}, nil, false},
		{[]string{"--private-key=nosuch:x"}, map[string]string{"pin_source": `"file:pin"`}, false},
	} {
		src := base()
		delete(src.keys, "certificate") // it is the key's reference
		maps.Copy(src.keys, test.keys)
		setups, err := src.setups(t, 1, test.args...)
		if err == nil {
			_, err = setups[0].Open(t.Context(), front.App{Store: all.New(), Now: time.Now}, nil)
		}
		var ref *keystore.RefError
		if !errors.As(err, &ref) {
			t.Errorf("%q, %v: %v is not about a reference", test.args, test.keys, err)
			continue
		}
		if code, hint := front.Explain(err); code != front.ExitUsage || hint == "" {
			t.Errorf("%v: exit code %d, hint %q", err, code, hint)
		}
		if got := strings.Contains(err.Error(), `roles.toml: role 1 "a": `); got != test.file {
			t.Errorf("%q, %v: %v: names the file: %t, want %t", test.args, test.keys, err, got, test.file)
		}
	}
}

// keyFile returns the name of a file with a key.
func keyFile(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(name, signertest.KeyPEM(t, signertest.Key(t, "p256")), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// The name of a role is part of a path, so the ARN in a flag must end with one.
func TestRoleNameOfFlag(t *testing.T) {
	for name, ok := range map[string]bool{
		"role/app": true, "role/path/to/app_+=,.@-": true, "role/..": false, "role/.": false, "role/path/..": false,
		"role/a b": false, "role/a%2fb": false, "role/a?b": false, "role/" + strings.Repeat("x", 65): false,
	} {
		source := base()
		for flag, value := range map[string]string{
			"role-arn": "arn:aws:iam::111122223333:" + name, "trust-anchor-arn": anchor + "1", "profile-arn": profile + "1", "private-key": "/key.pem",
		} {
			source.flags[flag] = value
		}
		setups, err := source.setups(t, 0)
		var usage *front.UsageError
		if ok && (err != nil || len(setups) != 1) || !ok && !errors.As(err, &usage) && !errors.Is(err, rolesanywhere.ErrConfig) {
			t.Errorf("%s: %d roles, %v", name, len(setups), err)
		}
	}
}
