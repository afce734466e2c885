//go:build linux

package main

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

	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

func TestChildEnv(t *testing.T) {
	env := []string{
		"PATH=/bin", "HOME=/root", "EMPTY=", "AWS_PAGER=less", "AWS_CA_BUNDLE=/ca.pem", "AWS_CONFIG_FILE=/config", "AWS_ENDPOINT_URL=http://x",
		"AWS_ACCESS_KEY_ID=x", "AWS_SECRET_ACCESS_KEY=x", "AWS_SESSION_TOKEN=x", "AWS_SECURITY_TOKEN=x", "AWS_CREDENTIAL_EXPIRATION=x",
		"AWS_CREDENTIAL_SCOPE=x", "AWS_ACCOUNT_ID=x", "AWS_ACCESS_KEY=x", "AWS_SECRET_KEY=x", "AMAZON_ACCESS_KEY_ID=x", "AMAZON_SECRET_ACCESS_KEY=x",
		"AMAZON_SESSION_TOKEN=x", "AWS_PROFILE=x", "AWS_DEFAULT_PROFILE=x", "AWS_ROLE_ARN=x", "AWS_ROLE_SESSION_NAME=x", "AWS_WEB_IDENTITY_TOKEN_FILE=x",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=x", "AWS_CONTAINER_CREDENTIALS_FULL_URI=x", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=x",
		"AWS_CREDENTIAL_FILE=x", "AWS_BEARER_TOKEN_BEDROCK=x",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT=x", "AWS_SHARED_CREDENTIALS_FILE=x", "BOTO_CONFIG=x",
	}
	kept := env[:7]
	creds := credentials.Credentials{AccessKeyID: "ASIA1", SecretAccessKey: "s", SessionToken: "t", Expires: time.Date(2026, 11, 21, 12, 0, 0, 1, time.UTC)}
	regions := []string{"AWS_REGION=eu-west-1", "AWS_DEFAULT_REGION=eu-west-1"}
	for _, test := range []struct {
		name   string
		env    []string
		added  []string
		static bool
		want   []string
	}{
		{"endpoint", env, endpointVariables("http://127.0.0.1:1/credentials", "token"), false, slices.Concat(kept, []string{
			"AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1/credentials", "AWS_CONTAINER_AUTHORIZATION_TOKEN=token",
			"AWS_EC2_METADATA_DISABLED=true", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "BOTO_CONFIG=/dev/null",
		}, regions)},
		{"static", env, staticVariables(creds), true, slices.Concat(kept, env[len(env)-3:], []string{
			"AWS_ACCESS_KEY_ID=ASIA1", "AWS_SECRET_ACCESS_KEY=s", "AWS_SESSION_TOKEN=t", "AWS_CREDENTIAL_EXPIRATION=2026-11-21T12:00:00Z",
		}, regions)},
		{"both regions are there", []string{"AWS_REGION=a", "AWS_DEFAULT_REGION=b"}, []string{"X=1"}, false, []string{"AWS_REGION=a", "AWS_DEFAULT_REGION=b", "X=1"}},
		{"one region is there", []string{"AWS_REGION=a"}, []string{"X=1"}, false, []string{"AWS_REGION=a", "X=1", "AWS_DEFAULT_REGION=a"}},
		{"the other region is there", []string{"AWS_DEFAULT_REGION=b"}, []string{"X=1"}, false, []string{"AWS_DEFAULT_REGION=b", "X=1", "AWS_REGION=b"}},
		{"names that begin alike", []string{"AWS_PROFILES=x", "AWS_ROLE_ARN_2=x"}, []string{"X=1"}, false, slices.Concat([]string{"AWS_PROFILES=x", "AWS_ROLE_ARN_2=x", "X=1"}, regions)},
	} {
		if got := childEnv(test.env, test.added, "eu-west-1", test.static); !slices.Equal(got, test.want) {
			t.Errorf("%s:\n got %q\nwant %q", test.name, got, test.want)
		}
	}
}

func TestWithoutSecrets(t *testing.T) {
	env := []string{"PATH=/bin", "KEY=k", "KEYS=x", "CERT=c", "PIN=p", "FILE=f"}
	without := func(id identityFlags) []string {
		t.Helper()
		got, err := withoutSecrets(slices.Clone(env), all.New(), id)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	id := identityFlags{identity: identityTexts{Key: "env:KEY", Certificate: "env:CERT"}, pinSource: "env:PIN"}
	if got, want := without(id), []string{"PATH=/bin", "KEYS=x", "FILE=f"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	id = identityFlags{identity: identityTexts{Key: "pkcs11:token=t;object=o?module-name=m&pin-source=env:PIN", Certificate: "tpm:path=f;parent-auth-source=env%3AKEY"}}
	if got, want := without(id), []string{"PATH=/bin", "KEYS=x", "CERT=c", "FILE=f"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	id = identityFlags{identity: identityTexts{Certificate: "FILE", Intermediates: "pkcs11:object=ca?pin-source=env:PIN"}}
	if got, want := without(id), []string{"PATH=/bin", "KEY=k", "KEYS=x", "CERT=c", "FILE=f"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	id = identityFlags{identity: identityTexts{Key: "KEY", Certificate: "file:CERT"}, pinSource: "prompt"}
	if got := without(id); !slices.Equal(got, env) {
		t.Errorf("got %q", got)
	}
	if got, err := withoutSecrets(slices.Clone(env), all.New(), identityFlags{identity: identityTexts{Key: "env:"}, pinSource: "env:PIN"}); got != nil || err == nil {
		t.Errorf("got %q, error %v", got, err)
	}
}

// A ran is a process of holdfast exec.
type ran struct {
	code           int
	stdout, stderr string
}

// execArgs returns a command line up to the command.
func execArgs(s *site, flags ...string) []string {
	return slices.Concat([]string{"exec", "--certificate", s.path("cert.pem"), "--private-key", s.path("key.pem")}, s.up.args, flags, []string{"--"})
}

func execCommand(t *testing.T, args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command("holdfast", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + quickExit, "AWS_PROFILE=wrong"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	return cmd, &stdout, &stderr
}

func runExec(t *testing.T, args ...string) ran {
	t.Helper()
	cmd, stdout, stderr := execCommand(t, args...)
	return runCommand(t, cmd, stdout, stderr)
}

func runCommand(t *testing.T, cmd *exec.Cmd, stdout, stderr *bytes.Buffer) ran {
	t.Helper()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

func TestExec(t *testing.T) {
	t.Parallel()
	s := newFiles(t, t.TempDir())
	s.up = newUpstream(t, s.ca.Cert, time.Hour)
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
	// Flags behind the command are its own, with and without --.
	args := execArgs(s)
	if got := runExec(t, append(args[:len(args)-1], "echo", "--env", "-x", "--", "y")...); got.stdout != "--env -x -- y\n" {
		t.Errorf("got %+v", got)
	}
	// The first credentials are there before the command is, and nothing is on disk.
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
	}
	if left, err := os.ReadDir(empty); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if first, _, _ := strings.Cut(got.stdout, "\n"); !strings.Contains(first, "=") || !strings.Contains(got.stdout, "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:") {
		t.Errorf("got %s", got.stdout)
	}
}

// If there are no credentials there is no command.
func TestExecFails(t *testing.T) {
	t.Parallel()
	s := newFiles(t, t.TempDir())
	s.up = newUpstream(t, s.ca.Cert, time.Hour)
	mark := s.path("mark")
	s.write(t, "other.pem", []byte("none"))
	s.write(t, "script", []byte("#!/bin/sh\n"))
	if err := os.Chmod(s.path("script"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		code int
	}{
		{"no command", execArgs(s), exitUsage},
		{"no such command", append(execArgs(s), "no-such-command"), exitNotFound},
		{"not a program", append(execArgs(s), s.path("key.pem")), exitUnavailable},
		{"no certificate", append(execArgs(s, "--certificate", "none.pem"), "touch", mark), exitNotFound},
		{"bad ARN", append(execArgs(s, "--role-arn", "x"), "touch", mark), exitUsage},
		{"refused", append(execArgs(s, "--role-arn", "arn:aws:iam::111122223333:role/other"), "touch", mark), exitRefused},
		{"unreachable", append(execArgs(s, "--endpoint", "http://127.0.0.1:1"), "touch", mark), exitUnreachable},
		{"unknown flag", append(execArgs(s, "--no-such-flag"), "touch", mark), exitUsage},
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

// defaultSignals lets the programs that the test starts have these signals also
// if the tests themselves run under nohup or in the background of a script.
func defaultSignals(t *testing.T, signals ...os.Signal) {
	t.Helper()
	for _, s := range signals {
		if signal.Ignored(s) {
			signal.Notify(make(chan os.Signal, 1), s)
			t.Cleanup(func() { signal.Reset(s) })
		}
	}
}

// Signals reach the command, once each.
func TestExecPassesSignals(t *testing.T) {
	t.Parallel()
	defaultSignals(t, syscall.SIGHUP, syscall.SIGINT)
	s := newFiles(t, t.TempDir())
	s.up = newUpstream(t, s.ca.Cert, time.Hour)
	const script = `n=0; trap 'n=$((n+1)); echo INT' INT; trap 'echo HUP' HUP; trap 'echo USR1' USR1; trap 'echo TERM; exit 3' TERM
echo ready; while :; do sleep 0.05; done`
	cmd := exec.Command("holdfast", append(execArgs(s), "sh", "-c", script)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + quickExit}
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

// Ctrl-C on a terminal reaches the command once: from the terminal, which
// gives it to the whole process group.
func TestExecOnATerminal(t *testing.T) {
	t.Parallel()
	s := newFiles(t, t.TempDir())
	s.up = newUpstream(t, s.ca.Cert, time.Hour)
	master, slave := newPTY(t)
	cmd := exec.Command("holdfast", append(execArgs(s), "count-interrupts")...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + quickExit}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	slave.Close()
	readUntil(t, master, "ready")
	if _, err := master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if got := readUntil(t, master, "."); !bytes.Contains(got, []byte("count=1, sane=true.")) {
		t.Errorf("got %q", got)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("%v", err)
	}
}

// What whoever started exec ignores, the command ignores too, as with nohup.
func TestExecInheritsIgnoredSignals(t *testing.T) {
	t.Parallel()
	s := newFiles(t, t.TempDir())
	s.up = newUpstream(t, s.ca.Cert, time.Hour)
	args := append([]string{"-c", `trap "" HUP INT; exec holdfast "$@"`, "sh"}, append(execArgs(s), "grep", "SigIgn", "/proc/self/status")...)
	cmd := exec.Command("sh", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=" + quickExit}
	out, err := cmd.Output()
	mask, parseErr := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(string(out), "SigIgn:")), 16, 64)
	if err != nil || parseErr != nil || mask&3 != 3 { // HUP is 1, INT is 2
		t.Errorf("%q, %v, %v", out, err, parseErr)
	}
}

// The command's credentials are renewed while it runs.
func TestExecRenews(t *testing.T) {
	t.Parallel()
	s := newFiles(t, t.TempDir())
	s.up = newUpstream(t, s.ca.Cert, 8*time.Second)
	fifo := filepath.Join(s.dir, "wait")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd, _, stderr := execCommand(t, append(execArgs(s), "cat", fifo)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two renewals", func() bool { return s.up.sessions.Load() >= 3 })
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
