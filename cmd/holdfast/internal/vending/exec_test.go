//go:build linux

package vending_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/ptytest"
)

// A result is the exit code and the output of holdfast exec.
type result struct {
	code           int
	stdout, stderr string
}

// execArgs returns the arguments of holdfast up to and including --.
func execArgs(s *clitest.Site, flags ...string) []string {
	return slices.Concat([]string{"exec", "--certificate", s.Path("cert.pem"), "--private-key", s.Path("key.pem")}, s.Up.Args, flags, []string{"--"})
}

func execCommand(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command("holdfast", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit, "AWS_PROFILE=wrong"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

func runExec(t *testing.T, args ...string) result {
	t.Helper()
	cmd, stdout, stderr := execCommand(t, args...)
	return runCommand(t, cmd, stdout, stderr)
}

func runCommand(t *testing.T, cmd *exec.Cmd, stdout, stderr *bytes.Buffer) result {
	t.Helper()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func TestExec(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	for _, test := range []struct {
		name   string
		script string
		code   int
		stdout string
	}{
		{"success", "echo out; echo err >&2", 0, "out\n"},
		{"exit code", "exit 7", 7, ""},
		{"exit code 255", "exit 255", 255, ""},
		{"a signal ends it", "kill -TERM $$", 128 + 15, ""},
		{"killed", "kill -KILL $$", 128 + 9, ""},
		{"standard input", "cat", 0, "typed"},
	} {
		cmd, stdout, stderr := execCommand(t, append(execArgs(s), "sh", "-c", test.script)...)
		cmd.Stdin = strings.NewReader("typed")
		got := runCommand(t, cmd, stdout, stderr)
		if got.code != test.code || got.stdout != test.stdout || strings.Contains(got.stderr, "holdfast:") {
			t.Errorf("%s: got %+v", test.name, got)
		}
	}
	// Flags after the command belong to the command, with and without --.
	args := execArgs(s)
	if got := runExec(t, append(args[:len(args)-1], "echo", "--env", "-x", "--", "y")...); got.stdout != "--env -x -- y\n" {
		t.Errorf("got %+v", got)
	}
	// Credentials are available when the command starts, and nothing is written
	// to disk.
	empty := t.TempDir()
	cmd, stdout, stderr := execCommand(t, append(execArgs(s, "--pin-source", "env:PIN"), "sh", "-c", `ls -A "$HOME"; env`)...)
	for _, name := range []string{"HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"} {
		cmd.Env = append(cmd.Env, name+"="+empty)
	}
	cmd.Env = append(cmd.Env, "PIN=wrong")
	got := runCommand(t, cmd, stdout, stderr)
	for line := range strings.Lines(got.stdout) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if strings.Contains(name, "SECRET") || strings.Contains(value, "wrong") {
			t.Errorf("the command sees %s", name)
		}
		if name == "TSS2_LOG" || name == "TPM2_PKCS11_LOG_LEVEL" { // set only for modules that holdfast loads
			t.Errorf("the command sees %s=%s", name, value)
		}
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if first, _, _ := strings.Cut(got.stdout, "\n"); !strings.Contains(first, "=") || !strings.Contains(got.stdout, "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:") {
		t.Errorf("got %s", got.stdout)
	}
}

// The command does not get the variables that flags or any role of the file
// name for a secret.
func TestExecHidesVariablesOfAllRoles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := clitest.NewFiles(t, dir)
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	const table = "[[role]]\nname = %q\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"\npin_source = %q\n"
	file := filepath.Join(dir, "roles.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, table+table, "app", "env:FIRST", "other", "env:SECOND"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := slices.Concat([]string{"exec", "--config", file, "--role", "app", "--pin-source", "env:THIRD"}, s.Up.Args, []string{"--", "env"})
	cmd, stdout, stderr := execCommand(t, args...)
	cmd.Env = append(cmd.Env, "FIRST=hidden", "SECOND=hidden", "THIRD=hidden", "FOURTH=visible")
	if got := runCommand(t, cmd, stdout, stderr); got.code != 0 || strings.Contains(got.stdout, "hidden") || !strings.Contains(got.stdout, "FOURTH=visible\n") {
		t.Errorf("got %+v", got)
	}
}

// If no credentials can be obtained, the command is not started.
func TestExecFails(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	mark := s.Path("mark")
	s.Write(t, "other.pem", []byte("none"))
	for name, text := range map[string]string{"bad-interpreter": "#!/none/sh\n", "no-interpreter": "touch mark\n"} {
		s.Write(t, name, []byte(text))
		if err := os.Chmod(s.Path(name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for command, hint := range map[string]string{
		"no-such-command": "PATH", s.Path("none"): "name", s.Path("key.pem"): "chmod +x",
		s.Path("bad-interpreter"): "its interpreter does not exist", s.Path("no-interpreter"): "#!/bin/sh",
	} {
		if got := runExec(t, append(execArgs(s), command)...); !strings.Contains(got.stderr, hint) {
			t.Errorf("%s: %s, want a hint with %q", command, got.stderr, hint)
		}
	}
	for _, test := range []struct {
		name string
		args []string
		code int
	}{
		{"no interpreter", append(execArgs(s), s.Path("no-interpreter")), 126},
		{"bad interpreter", append(execArgs(s), s.Path("bad-interpreter")), 127},
		{"no command", execArgs(s), front.ExitUsage},
		{"no such command", append(execArgs(s), "no-such-command"), 127},
		{"not a program", append(execArgs(s), s.Path("key.pem")), 126},
		{"no certificate", append(execArgs(s, "--certificate", "none.pem"), "touch", mark), front.ExitNotFound},
		{"bad ARN", append(execArgs(s, "--role-arn", "x"), "touch", mark), front.ExitUsage},
		{"refused", append(execArgs(s, "--role-arn", "arn:aws:iam::111122223333:role/other"), "touch", mark), front.ExitRefused},
		{"unreachable", append(execArgs(s, "--endpoint", "http://127.0.0.1:1"), "touch", mark), front.ExitUnreachable},
		{"unknown flag", append(execArgs(s, "--no-such-flag"), "touch", mark), front.ExitUsage},
	} {
		got := runExec(t, test.args...)
		if got.code != test.code || got.stdout != "" || !strings.Contains(got.stderr, "\nhint: ") {
			t.Errorf("%s: got %+v, want exit code %d", test.name, got, test.code)
		}
		if _, err := os.Stat(mark); err == nil {
			t.Fatalf("%s: the command ran", test.name)
		}
	}
}

// defaultSignals ensures that programs that the test starts do not ignore these
// signals, even if the test itself runs under nohup or in the background.
func defaultSignals(t *testing.T, signals ...os.Signal) {
	t.Helper()
	for _, s := range signals {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
			t.Cleanup(func() { signal.Reset(s) })
		}
	}
}

// The command receives each signal exactly once.
func TestExecPassesSignals(t *testing.T) {
	t.Parallel()
	defaultSignals(t, syscall.SIGHUP, syscall.SIGINT)
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	const script = `n=0; trap 'n=$((n+1)); echo INT' INT; trap 'echo HUP' HUP; trap 'echo USR1' USR1; trap 'echo TERM; exit 3' TERM
echo ready; while :; do sleep 0.05; done`
	cmd := exec.Command("holdfast", append(execArgs(s), "sh", "-c", script)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
	}
	next("ready")
	for _, sig := range []struct {
		s    syscall.Signal
		name string
	}{{syscall.SIGINT, "INT"}, {syscall.SIGHUP, "HUP"}, {syscall.SIGUSR1, "USR1"}, {syscall.SIGINT, "INT"}, {syscall.SIGTERM, "TERM"}} {
		if err := cmd.Process.Signal(sig.s); err != nil {
			t.Fatal(err)
		}
		next(sig.name)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("%v", err)
	}
}

// The command receives Ctrl-C exactly once, from the terminal, which sends it
// to the whole foreground process group.
func TestExecOnATerminal(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	master, slave := ptytest.New(t)
	cmd := exec.Command("holdfast", append(execArgs(s), "count-interrupts")...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	slave.Close()
	ptytest.ReadUntil(t, master, "ready")
	if _, err := master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if got := ptytest.ReadUntil(t, master, "."); !bytes.Contains(got, []byte("count=1, sane=true.")) {
		t.Errorf("got %q", got)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("%v", err)
	}
}

// The command ignores the signals that were ignored when exec started, as with
// nohup.
func TestExecInheritsIgnoredSignals(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, time.Hour)
	args := append([]string{"-c", `trap "" HUP INT; exec holdfast "$@"`, "sh"}, append(execArgs(s), "grep", "SigIgn", "/proc/self/status")...)
	cmd := exec.Command("sh", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + clitest.QuickExit}
	out, err := cmd.Output()
	mask, parseErr := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(string(out), "SigIgn:")), 16, 64)
	if err != nil || parseErr != nil || mask&3 != 3 { // HUP is 1, INT is 2
		t.Errorf("%q, %v, %v", out, err, parseErr)
	}
}

// The command's credentials are renewed while it runs.
func TestExecRenews(t *testing.T) {
	t.Parallel()
	s := clitest.NewFiles(t, t.TempDir())
	s.Up = clitest.NewUpstream(t, s.CA.Cert, 8*time.Second)
	fifo := filepath.Join(s.Dir, "wait")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, _, stderr := execCommand(t, append(execArgs(s), "cat", fifo)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	clitest.Eventually(t, "two renewals", func() bool { return s.Up.Sessions.Load() >= 3 })
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f)
	f.Close()
	if err := cmd.Wait(); err != nil || stderr.Len() > 0 {
		t.Errorf("%v, %s", err, stderr)
	}
}
