//go:build linux

package badinput

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
)

// What no bad input may exceed. AWS's clients end a credential process after
// 60 s, and a person waits less.
const (
	badInputTime   = 20 * time.Second
	badInputMemory = 200 << 20 // bytes
	badInputBound  = 4         // runs at a time
)

// A badInput is a command line that holdfast must refuse, without a terminal.
type badInput struct {
	name string

	// args follow the flags of a good credential-process, which a later
	// flag overrides, or are all there is if bare is set. {url} and {addr}
	// stand for the server.
	args   []string
	bare   bool
	env    []string
	setup  func(*scene) // changes the folder
	nobody bool         // run as a user who owns nothing

	serve server // nil: must not be called

	code    int
	culprit string        // in the first line
	hint    string        // in the second line
	warning string        // in one more line before; "": there is none
	secret  string        // nowhere
	sent    int           // requests, or connections of a server that is not HTTP
	time    time.Duration // it may take; 0: badInputTime
}

// TestBadInput runs the real program, as AWS's clients do.
func TestBadInput(t *testing.T) {
	t.Parallel()
	base, program := buildProgram(t)

	p := newPKI(t)
	var cases []badInput
	for _, group := range []func(*pki) []badInput{
		fileCases, keyCases, encryptedKeyCases, inputCases, certificateCases,
		arnCases, argumentCases, networkCases, answerCases, refusalCases, chainCases, otherCommandCases,
		signStringCases, certificateDataCases, environmentCases, doctorCases, issuingCases, installCases, renewalCases, attestationCases, mldsaCases, spiffeCases, sshAgentCases, agentCommandCases, blobCases, programCases, helperCases,
	} {
		cases = append(cases, group(p)...)
	}
	var peak atomic.Int64
	slots := make(chan struct{}, badInputBound)
	start := time.Now()
	t.Run("cases", func(t *testing.T) {
		seen := make(map[string]bool)
		for i, c := range cases {
			if seen[c.name] {
				t.Errorf("two cases have the name %q", c.name)
			}
			seen[c.name] = true
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				s := newScene(t, p, filepath.Join(base, strconv.Itoa(i)))
				r := s.run(program, c)
				r.check(t, c, s.secrets(c))
				for old := peak.Load(); r.memory > old && !peak.CompareAndSwap(old, r.memory); old = peak.Load() {
				}
			})
		}
	})
	t.Logf("%d cases in %v, at most %d MiB", len(cases), time.Since(start).Round(time.Second), peak.Load()>>20)
}

// buildProgram builds the program without cgo in a new folder that everybody can
// read, and returns both.
func buildProgram(t *testing.T) (base, program string) {
	t.Helper()
	base = t.TempDir()
	for _, dir := range []string{base, filepath.Dir(base)} {
		if err := os.Chmod(dir, 0o755); err != nil { // for badInput.nobody
			t.Fatal(err)
		}
	}
	program = filepath.Join(base, "holdfast")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", program, clitest.Package)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return base, program
}

// A scene is a folder with the files of a good command line, and the place
// where the child runs.
type scene struct {
	testing.TB
	*pki
	dir   string
	stdin *os.File // nil: empty
	tty   *os.File // nil: there is no terminal
	root  string   // the child's root folder, in which it is /holdfast; "": as here
}

func newScene(t *testing.T, p *pki, dir string) *scene {
	s := &scene{TB: t, pki: p, dir: dir}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("key.pem", p.keyPEM)
	s.write("cert.pem", p.certPEM)
	return s
}

func (s *scene) path(name string) string { return filepath.Join(s.dir, name) }

func (s *scene) write(name string, data []byte) {
	s.Helper()
	s.must(os.WriteFile(s.path(name), data, 0o600))
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

type result struct {
	code           int
	stdout, stderr string
	sent           int
	memory         int64 // bytes, at the peak; 0 if this process has had more
	time           time.Duration
	killed         bool
}

func (s *scene) run(program string, c badInput) result {
	s.Helper()
	if c.setup != nil {
		c.setup(s)
	}
	if c.serve == nil {
		c.serve = silent
	}
	url, sent := c.serve(s)
	var args []string
	if !c.bare {
		args = append(args, goodFlags...)
	}
	args = append(args, c.args...)
	_, addr, _ := strings.Cut(url, "://")
	place := strings.NewReplacer("{url}", url, "{addr}", addr, "{dir}", s.dir)
	for i, a := range args {
		args[i] = place.Replace(a)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
	for _, v := range c.env {
		env = append(env, place.Replace(v))
	}

	ctx, cancel := context.WithTimeout(s.Context(), cmp.Or(c.time, badInputTime))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = s.dir
	cmd.Env = env
	if s.stdin != nil {
		cmd.Stdin = s.stdin
		defer s.stdin.Close()
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without a terminal
	if s.tty != nil {
		cmd.ExtraFiles = []*os.File{s.tty}
		cmd.SysProcAttr.Setctty, cmd.SysProcAttr.Ctty = true, 3
		defer s.tty.Close()
	}
	if s.root != "" {
		cmd.Path, cmd.Dir = "/holdfast", "/"
		cmd.SysProcAttr.Chroot = s.root
		if os.Geteuid() != 0 { // root in a user namespace may change it
			cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		}
	}
	if c.nobody && os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		if s.root != "" && os.Getenv("HOLDFAST_REQUIRE") == "" {
			s.Skip("neither root nor a user namespace: ", err)
		}
		s.Fatal(err)
	}
	r := result{
		code:   cmd.ProcessState.ExitCode(),
		stdout: stdout.String(),
		stderr: stderr.String(),
		sent:   int(sent.Load()),
		memory: clitest.MaxRSS(cmd.ProcessState),
		time:   time.Since(start),
		killed: ctx.Err() != nil,
	}
	// A child has the peak of its parent until its exec (getrusage(2)).
	var own syscall.Rusage
	s.must(syscall.Getrusage(syscall.RUSAGE_SELF, &own))
	if r.memory <= own.Maxrss<<10 {
		r.memory = 0
	}
	s.Logf("exit code %d, %d sent, %v, %d MiB\n%s", r.code, r.sent, r.time.Round(time.Millisecond), r.memory>>20, r.stderr)
	return r
}

// secrets returns what must not be told: the bodies of all PEM blocks that the
// child could see, and what the case names.
func (s *scene) secrets(c badInput) []string {
	all := []string{testPassword}
	if c.secret != "" {
		all = append(all, c.secret)
	}
	texts := append(append([]string{string(s.keyPEM)}, c.args...), c.env...)
	_ = fs.WalkDir(os.DirFS(s.dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil && info.Size() < 1<<20 {
				data, _ := os.ReadFile(s.path(name))
				texts = append(texts, string(data))
			}
		}
		return nil
	})
	for _, text := range texts {
		for _, line := range strings.Split(text, "\n") {
			if _, err := base64.StdEncoding.DecodeString(line); err == nil && len(line) > 24 {
				all = append(all, line)
			}
		}
	}
	return all
}

// goType matches names such as *errors.errorString, and panics.
var goType = regexp.MustCompile(`\*?\b[a-z][a-z0-9]*\.[A-Z]\w*|\*[a-z]\w+\.\w|\bpanic\b|goroutine|%!`)

func (r result) check(t *testing.T, c badInput, secrets []string) {
	if r.killed {
		t.Errorf("does not end within %v", cmp.Or(c.time, badInputTime))
	}
	if r.code != c.code {
		t.Errorf("exit code is %d, want %d", r.code, c.code)
	}
	if r.stdout != "" {
		t.Errorf("standard output has %q", r.stdout)
	}
	if r.sent != c.sent {
		t.Errorf("the server got %d, want %d", r.sent, c.sent)
	}
	if r.memory > badInputMemory {
		t.Errorf("took %d MiB of memory", r.memory>>20)
	}
	text, ended := strings.CutSuffix(r.stderr, "\n")
	lines := strings.Split(text, "\n")
	if c.warning != "" && len(lines) == 3 && strings.HasPrefix(lines[0], "holdfast: warning: ") && strings.Contains(lines[0], c.warning) {
		lines = lines[1:]
	}
	if !ended || len(lines) != 2 {
		t.Fatalf("standard error has not an error and a hint alone:\n%s", r.stderr)
	}
	told, ok := strings.CutPrefix(lines[0], "holdfast: ")
	if !ok || strings.HasPrefix(told, "warning: ") || !strings.Contains(told, c.culprit) {
		t.Errorf("first line does not name %q", c.culprit)
	}
	if hint, ok := strings.CutPrefix(lines[1], "hint: "); !ok || hint == "" || !strings.Contains(hint, c.hint) {
		t.Errorf("second line is no hint with %q", c.hint)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != ' ' && !unicode.IsPrint(r) }) {
		t.Errorf("standard error has control characters: %q", text)
	}
	if found := goType.FindString(text); found != "" {
		t.Errorf("standard error has %q", found)
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("standard error has the secret %q", secret)
		}
	}
}

func (r result) checkGood(t *testing.T) {
	t.Helper()
	var out struct {
		Version     int
		AccessKeyId string
	}
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || out.Version != 1 || out.AccessKeyId != "ASIAEXAMPLE" {
		t.Errorf("no credentials: %v", err)
	}
	if r.code != 0 || r.stderr != "" || r.sent != 1 || r.killed {
		t.Errorf("exit code %d, %d sent, standard error: %s", r.code, r.sent, r.stderr)
	}
}
