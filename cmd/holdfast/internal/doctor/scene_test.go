//go:build unix

package doctor_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const (
	anchorARN  = "arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/00000000-0000-0000-0000-000000000001"
	profileARN = "arn:aws:rolesanywhere:us-east-1:111122223333:profile/00000000-0000-0000-0000-000000000001"
	roleARN    = "arn:aws:iam::111122223333:role/demo"

	sessionFlags = "--trust-anchor-arn " + anchorARN + " --profile-arn " + profileARN + " --role-arn " + roleARN
	keyFlags     = "--certificate {dir}/cert.pem --private-key {dir}/key.pem"
	goodFlags    = keyFlags + " " + sessionFlags
	goodLine     = "holdfast credential-process " + goodFlags
	goodConfig   = "[profile app]\nregion = us-east-1\ncredential_process = " + goodLine + "\n"
)

// A scene is a folder, which is the home of the user, with ca.pem,
// intermediate.pem, cert.pem, key.pem and other.key.
type scene struct {
	testing.TB
	dir string
	ca  *signertest.CA // the intermediate CA
	key crypto.Signer  // of cert.pem
	url string         // of an emulator or another server
	env []string
}

// A setup is a configuration that doctor examines.
type setup struct {
	name    string
	args    string // words, without quotation marks
	words   []string
	prepare func(*scene)
	env     []string

	check   string // that finds the first fault; "": none
	seen    string // part of the fault
	command string // part of its command
	code    int
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{TB: t, dir: t.TempDir()}
	s.ca = clitest.WriteFiles(t, s.dir, "p256")
	s.key = signertest.Key(t, "p256")
	return s
}

// preparedScene returns a scene with the changes of a setup.
func preparedScene(t *testing.T, c setup) *scene {
	t.Helper()
	s := newScene(t)
	if c.prepare != nil {
		c.prepare(s)
	}
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scene) write(name, text string) {
	s.Helper()
	path := s.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(s.expand(text)), 0o600); err != nil {
		s.Fatal(err)
	}
}

func (s *scene) expand(text string) string {
	return strings.NewReplacer("{dir}", s.dir, "{url}", s.url).Replace(text)
}

// issue replaces cert.pem by a certificate that mutate changes.
func (s *scene) issue(mutate func(*x509.Certificate)) {
	s.Helper()
	chain := append([]*x509.Certificate{s.ca.Issue(s, s.key, mutate)}, s.ca.Chain()...)
	s.write("cert.pem", string(signertest.CertPEM(chain...)))
}

// open lets every local user enter the folder of a scene.
func open(s *scene) {
	for _, dir := range []string{filepath.Dir(s.dir), s.dir} {
		if err := os.Chmod(dir, 0o755); err != nil {
			s.Fatal(err)
		}
	}
}

// mode changes the mode of a file or folder.
func mode(name string, mode os.FileMode) func(*scene) {
	return func(s *scene) {
		if err := os.Chmod(s.path(name), mode); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *scene) tool(name string, args ...string) string {
	s.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// helperWith writes a program aws_signing_helper and a profile that runs it.
func helperWith(flags string) func(*scene) {
	return func(s *scene) {
		s.write("bin/aws_signing_helper", "#!/bin/sh\n")
		if err := os.Chmod(s.path("bin/aws_signing_helper"), 0o700); err != nil {
			s.Fatal(err)
		}
		s.write(".aws/config", "[profile app]\nregion = us-east-1\ncredential_process = {dir}/bin/aws_signing_helper credential-process "+flags+"\n")
	}
}

// A line is a check of the JSON report.
type line struct{ State, Check, Seen, Hint, Command string }

type report struct {
	State  string
	Code   int `json:"exit_code"`
	Checks []line
	raw    string
}

// first returns the first line with one of these states.
func (r report) first(states ...string) (line, bool) {
	for _, l := range r.Checks {
		for _, s := range states {
			if l.State == s {
				return l, true
			}
		}
	}
	return line{}, false
}

// of returns the lines of a check.
func (r report) of(check string) (lines []line) {
	for _, l := range r.Checks {
		if l.Check == check {
			lines = append(lines, l)
		}
	}
	return lines
}

// command returns the command that runs doctor.
func (s *scene) command(c setup, words ...string) *exec.Cmd {
	args := append([]string{"doctor"}, strings.Fields(c.args)...)
	args = append(append(args, c.words...), words...)
	for i := range args {
		args[i] = s.expand(args[i])
	}
	cmd := exec.Command("holdfast", args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "GORACE=" + clitest.QuickExit}
	for _, v := range append(s.env, c.env...) {
		cmd.Env = append(cmd.Env, s.expand(v))
	}
	return cmd
}

// run runs doctor and returns its standard output and exit code.
func (s *scene) run(c setup, words ...string) (stdout string, code int) {
	s.Helper()
	cmd := s.command(c, words...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		s.Fatal(err)
	}
	if stderr.Len() > 0 {
		s.Errorf("standard error: %s", &stderr)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// examine runs doctor and returns its report.
func (s *scene) examine(c setup) (r report) {
	s.Helper()
	out, code := s.run(c, "--json")
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		s.Fatalf("%v: %q", err, out)
	}
	r.raw = out
	if r.Code != code {
		s.Errorf("exit code %d, but the report says %d", code, r.Code)
	}
	return r
}
