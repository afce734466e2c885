//go:build unix

package doctor_test

import (
	"os"
	"strings"
	"testing"
)

const (
	rolesFile = `[[role]]
name = "app"
certificate = "cert.pem"
private_key = "key.pem"
trust_anchor_arn = "` + anchorARN + `"
profile_arn = "` + profileARN + `"
role_arn = "` + roleARN + `"

[role.assume]
role_arn = "arn:aws:iam::444455556666:role/second"
`
	fromFile = "--config {dir}/etc/roles.toml"
)

// roles writes a configuration file into a folder with the key and the
// certificate, whose paths in the file are relative to it.
func roles(text string) func(*scene) {
	return func(s *scene) {
		s.write("etc/roles.toml", text)
		for _, name := range []string{"cert.pem", "key.pem"} {
			if err := os.Rename(s.path(name), s.path("etc/"+name)); err != nil {
				s.Fatal(err)
			}
		}
	}
}

// A role of the file of serve, exec and update is checked as flags are.
func TestRoleOfFile(t *testing.T) {
	two := rolesFile + strings.Replace(rolesFile, `"app"`, `"other"`, 1)
	for _, c := range []setup{
		{name: "good", args: fromFile, prepare: roles(rolesFile)},
		{name: "one of two", args: fromFile + " --role other", prepare: roles(two)},
		{name: "a flag beside the file", args: fromFile + " --session-duration 900", prepare: roles(rolesFile)},
		{name: "two", args: fromFile, prepare: roles(two),
			check: "configuration", seen: "has 2 roles", command: "holdfast doctor --role app --config {dir}/etc/roles.toml", code: 2},
		{name: "no such role", args: fromFile + " --role ops", prepare: roles(two),
			check: "configuration", seen: "no role with this name", command: "--role NAME", code: 2},
		{name: "role without a file", args: "--role app", check: "configuration", seen: "requires --config", command: "holdfast help doctor", code: 2},
		{name: "no file", args: fromFile, check: "configuration", seen: "roles.toml", command: "ls -ld {dir}/etc {dir}/etc/roles.toml", code: 3},
		{name: "pipe", args: "--config /dev/fd/63", check: "configuration", seen: "not a regular file", command: "ls -l /dev/fd/63", code: 2},
		{name: "unknown key", args: fromFile, prepare: roles(strings.Replace(rolesFile, "private_key", "private_kee", 1)),
			check: "configuration", seen: "unknown key role.private_kee", command: "roles.toml", code: 2},
		{name: "not TOML", args: fromFile, prepare: roles("role"), check: "configuration", seen: "roles.toml", command: "+1 {dir}/etc/roles.toml", code: 2},
		{name: "another key", args: fromFile, prepare: roles(strings.Replace(rolesFile, `"key.pem"`, `"../other.key"`, 1)),
			check: "match", seen: "certificate is for another key", command: "openssl pkey -in {dir}/other.key", code: 1},
		{name: "key missing", args: fromFile, prepare: roles(strings.Replace(rolesFile, `"key.pem"`, `"kee.pem"`, 1)),
			check: "files", seen: "{dir}/etc/kee.pem does not exist", command: "ls -l {dir}/etc", code: 3},
		{name: "flag", args: fromFile + " --region eu-west-1", prepare: roles(rolesFile),
			check: "configuration", seen: "eu-west-1", command: "roles.toml", code: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := preparedScene(t, c)
			if c.check == "" {
				s.checkGood(c)
				return
			}
			s.check(c)
		})
	}
}

// A user who can change the file can choose the key.
func TestFileThatEverybodyCanChange(t *testing.T) {
	s := preparedScene(t, setup{prepare: roles(rolesFile)})
	steps(open, mode("etc", 0o755), mode("etc/roles.toml", 0o666))(s)
	r := s.examine(setup{args: fromFile})
	if l, _ := r.first("warning"); l.Check != "files" || !strings.Contains(l.Seen, "which key and role holdfast uses") || !strings.Contains(l.Command, "chmod go-w") {
		t.Errorf("%s", r.raw)
	}
}

func TestProfileAndFile(t *testing.T) {
	s := newScene(t)
	cmd := s.command(setup{args: "--profile app --config roles.toml"})
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "exclude each other") {
		t.Errorf("%v: %s", err, out)
	}
}
