package renewing_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/internal/exectest"
)

// TestProgramWithoutSecretsOfOthers: the program of a key gets the environment without the
// keys and PINs of all roles of the file, whichever command opens the key.
func TestProgramWithoutSecretsOfOthers(t *testing.T) {
	dir := t.TempDir()
	clitest.WriteFiles(t, dir, "p256")
	program, err := exec.LookPath(exectest.Name)
	if err == nil {
		err = clitest.WriteProgram(filepath.Join(dir, "signer"), []byte("#!/bin/sh\nenv >\""+dir+"/env\"\nexec '"+program+"'\n"))
	}
	if err != nil {
		t.Fatal(err)
	}
	arns := "trust_anchor_arn = 'arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001'\n" +
		"profile_arn = 'arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001'\n" +
		"role_arn = 'arn:aws:iam::111122223333:role/demo'\n"
	roles := "[[role]]\nname = 'a'\ncertificate = 'cert.pem'\nprivate_key = 'exec:program=" + dir + "/signer;key=" + dir + "/key.pem'\n" + arns +
		"[[role]]\nname = 'b'\ncertificate = 'cert.pem'\nprivate_key = 'env:KEYTWO'\npin_source = 'env:PINTWO'\n" + arns
	if err := os.WriteFile(filepath.Join(dir, "roles.toml"), []byte(roles), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"doctor", "--config", "roles.toml", "--role", "a"},
		{"doctor", "--config", "roles.toml", "--role", "a", "--use-pin"},
		{"renew", "--config", "roles.toml", "--role", "a", "--status"},
		{"renew", "--config", "roles.toml", "--role", "a", "--way", "command", "--", "false"},
		{"exec", "--config", "roles.toml", "--role", "a", "--endpoint", "http://127.0.0.1:1", "--timeout", "1s", "--", "false"},
	} {
		cmd := exec.Command("holdfast", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "XDG_STATE_HOME="+dir, "KEYTWO=secret-key", "PINTWO=secret-pin", "OTHER=other")
		out, _ := cmd.CombinedOutput() // most of them fail later
		env, err := os.ReadFile(filepath.Join(dir, "env"))
		if err != nil || !strings.Contains(string(env), "OTHER=other\n") || strings.Contains(string(env), "secret") {
			t.Errorf("%q: %v\nthe program got:\n%s\n%s", args, err, env, out)
		}
		if err := os.Remove(filepath.Join(dir, "env")); err != nil {
			t.Error(err)
		}
	}
}
