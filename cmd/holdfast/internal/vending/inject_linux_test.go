package vending_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// injected are the system calls that fail, with an error that each can have.
// Failures of memory and threads would only end the Go runtime.
var injected = map[string]string{
	"openat": "EACCES", "read": "EIO", "pread64": "EIO", "write": "ENOSPC", "close": "EIO",
	"fstat": "EIO", "newfstatat": "EACCES", "getdents64": "EIO", "readlinkat": "EIO",
	"mkdirat": "EROFS", "renameat": "EIO", "renameat2": "EIO", "rename": "EIO", "linkat": "EPERM", "unlinkat": "EROFS", "unlink": "EROFS",
	"fsync": "EIO", "fchmod": "EPERM", "fchown": "EPERM", "flock": "ENOLCK",
	"socket": "EMFILE", "connect": "ENETUNREACH", "bind": "EADDRINUSE", "listen": "EADDRINUSE", "accept4": "EMFILE", "getsockopt": "EIO",
	"epoll_ctl": "ENOMEM", "pipe2": "EMFILE", "execve": "ENOMEM", "wait4": "ECHILD", "waitid": "ECHILD", "prctl": "EINVAL", "getrlimit": "EINVAL", "prlimit64": "EINVAL",
}

// The n-th call of each system call fails, for each n up to this. Threads count
// separately.
func injections() int {
	if os.Getenv("HOLDFAST_CHAOS") != "" {
		return 40
	}
	return 1
}

// runTimeout is when a command counts as hanging.
const runTimeout = 5 * time.Minute

// unfit are the system calls that do not fail like this in a command: a close that
// strace lets fail does not close, so that the Go runtime waits for itself when it
// starts a process.
var unfit = map[string]string{"exec": "close"}

// A scene is a fresh folder for one run of a command.
type scene struct {
	site   *clitest.Site
	home   string
	strace string
}

const otherProfile = "# mine\n[other]\naws_access_key_id = AKIAOTHER\naws_secret_access_key = OtherSecret\n[p]\naws_access_key_id = AKIAOLD\naws_secret_access_key = OldSecret\n"

func newScene(t *testing.T, s *clitest.Site, strace string) *scene {
	t.Helper()
	c := &scene{s, t.TempDir(), strace}
	if err := errors.Join(os.Mkdir(filepath.Join(c.home, ".aws"), 0o700), os.WriteFile(c.file(), []byte(otherProfile), 0o600)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *scene) file() string { return filepath.Join(c.home, ".aws", "credentials") }

// run runs a command under strace with further arguments of strace.
func (c *scene) run(t *testing.T, args []string, trace ...string) result {
	t.Helper()
	name, rest, _ := strings.Cut(strings.Join(args, " "), " ")
	all := slices.Concat([]string{name, "--certificate", c.site.Path("cert.pem"), "--private-key", c.site.Path("key.pem")}, c.site.Up.Args, strings.Fields(rest))
	holdfast, err := exec.LookPath("holdfast")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.strace, slices.Concat([]string{"-f", "-qq"}, trace, []string{holdfast}, all)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "HOME=" + c.home}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	r := runCommand(t, cmd, &stdout, &stderr)
	if ctx.Err() != nil {
		t.Errorf("%s %q: hangs", name, trace)
	}
	return r
}

var (
	newKeys = regexp.MustCompile(`(?m)^aws_access_key_id = (ASIA[A-Z0-9]+)\naws_secret_access_key = (\S+)\naws_session_token = (\S+)\n`)
	secrets = regexp.MustCompile(`OldSecret|OtherSecret|"SecretAccessKey"|"SessionToken"|BEGIN [A-Z ]*PRIVATE KEY`)
)

// checkUpdate checks the credentials file: it is the old or the new one.
func (c *scene) checkUpdate(r result) error {
	data, err := os.ReadFile(c.file())
	if err != nil {
		return err
	}
	found := newKeys.FindStringSubmatch(string(data))
	switch {
	case string(data) == otherProfile && r.code != 0:
		return nil
	case found == nil || strings.Replace(string(data), found[0], "aws_access_key_id = AKIAOLD\naws_secret_access_key = OldSecret\n", 1) != otherProfile:
		return fmt.Errorf("the file is neither the old nor the new one: %q", data)
	case strings.Contains(r.stderr, found[2]) || strings.Contains(r.stderr, found[3]):
		return errors.New("a secret is on standard error")
	}
	return nil
}

// checkOutput checks the output of credential-process.
func checkOutput(r result) error {
	var doc struct{ AccessKeyID, SecretAccessKey, SessionToken, Expiration string }
	err := json.Unmarshal([]byte(r.stdout), &doc)
	switch {
	case r.code != 0:
		return nil
	case err != nil || doc.AccessKeyID == "" || doc.SecretAccessKey == "" || doc.SessionToken == "" || doc.Expiration == "":
		return fmt.Errorf("success without credentials: %v", err)
	case strings.Contains(r.stderr, doc.SecretAccessKey) || strings.Contains(r.stderr, doc.SessionToken):
		return errors.New("a secret is on standard error")
	}
	return nil
}

// One system call after the other fails. No command reports success without its
// result, loses what was there, or writes a secret to standard error.
func TestChaosSystemCallsFail(t *testing.T) {
	t.Parallel()
	strace := signertest.Require(t, "strace", "strace")
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	if r := newScene(t, s, strace).run(t, []string{"update", "--once", "--profile", "p"}, "-o", os.DevNull); r.code != 0 {
		signertest.Skip(t, "strace", errors.New(r.stderr))
	}
	for _, test := range []struct {
		args  []string
		check func(c *scene, r result) error
	}{
		{[]string{"update", "--once", "--profile", "p", "--timeout", "3s"}, (*scene).checkUpdate},
		{[]string{"credential-process", "--cache", "--timeout", "3s"}, func(c *scene, r result) error {
			if err := checkOutput(r); err != nil {
				return err
			}
			again := c.run(t, []string{"credential-process", "--cache"}, "-o", os.DevNull)
			if again.code != 0 {
				return fmt.Errorf("the next process fails: %s", again.stderr)
			}
			return checkOutput(again)
		}},
		{[]string{"exec", "--timeout", "3s", "--", "/bin/echo", "ran"}, func(_ *scene, r result) error {
			if r.code == 0 && r.stdout != "ran\n" {
				return fmt.Errorf("success without a run: %q", r.stdout)
			}
			return nil
		}},
	} {
		t.Run(test.args[0], func(t *testing.T) {
			t.Parallel()
			runs, failed := 0, 0
			for call, code := range injected {
				if call == unfit[test.args[0]] {
					continue
				}
				for n := range injections() {
					c := newScene(t, s, strace)
					log := filepath.Join(c.home, "log")
					r := c.run(t, test.args, "-o", log, "-e", fmt.Sprintf("inject=?%s:error=%s:when=%d", call, code, n+1), "-e", "trace=?"+call)
					runs++
					if r.code != 0 {
						failed++
					}
					err := test.check(c, r)
					if secret := secrets.FindString(r.stderr); err == nil && secret != "" {
						err = fmt.Errorf("%s is on standard error", secret)
					}
					if err == nil && r.code != 0 && r.stderr == "" && test.args[0] != "exec" && call != "write" {
						err = errors.New("a failure without a message")
					}
					if err != nil {
						t.Errorf("%s call %d fails with %s: exit code %d, %v\n%s", call, n+1, code, r.code, err, r.stderr)
					}
					if trace, err := os.ReadFile(log); err == nil && !bytes.Contains(trace, []byte("(INJECTED)")) {
						break // there are no more calls
					}
					if err := os.RemoveAll(c.home); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Logf("%d runs, of which %d failed", runs, failed)
		})
	}
}
