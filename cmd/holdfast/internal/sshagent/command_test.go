//go:build linux

package sshagent_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/internal/exectest"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// newKey returns a folder with key.pem.
func newKey(t *testing.T) string {
	t.Helper()
	signertest.Require(t, "openssh", "ssh-add")
	dir := t.TempDir()
	write(t, dir, "key.pem", string(signertest.KeyPEM(t, signertest.Key(t, "p256"))))
	return dir
}

// agentRun runs holdfast ssh-agent to its end.
func agentRun(t *testing.T, dir string, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.Command("holdfast", append([]string{"ssh-agent"}, args...)...)
	cmd.Dir, cmd.Env = dir, environ(dir, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestWithCommand: the agent ends with its command.
func TestWithCommand(t *testing.T) {
	dir := newKey(t)
	write(t, dir, "pin", "unused")
	for _, c := range []struct {
		script, stdout string
		env            []string
		flags          []string
		code           int
	}{
		// It has a socket of its own, even if another agent listens on the default.
		{script: `first=$SSH_AUTH_SOCK; holdfast ssh-agent --private-key key.pem -- sh -c "ssh-add -L | cut -d' ' -f3; test \$SSH_AUTH_SOCK != $first"; echo ${first%-*}`, stdout: "key.pem\n" + dir + "/holdfast/ssh-agent\n"},
		{script: `exit 7`, code: 7},
		{script: `kill -TERM $$`, code: 128 + 15},
		{script: `echo ${SSH_AGENT_PID-none} ${SECRET-none} $OTHER`, stdout: "none none other\n", env: []string{"SSH_AGENT_PID=1", "SSH_AUTH_SOCK=/none", "SECRET=x", "OTHER=other"}, flags: []string{"--pin-source", "env:SECRET"}},
		{script: `ssh-add -L >/dev/null && while ssh-add -L >/dev/null; do :; done; ssh-add -L; exit 5`, stdout: "The agent has no identities.\n", flags: []string{"--lifetime", "1s"}, code: 5},
		{script: `ssh-add -L | cut -d' ' -f1,3; echo $SSH_AUTH_SOCK`, stdout: "ecdsa-sha2-nistp256 key.pem\n" + dir + "/s\n", flags: []string{"--socket", dir + "/s"}},
	} {
		args := append(append([]string{"--private-key", "key.pem"}, c.flags...), "--", "sh", "-c", c.script)
		code, stdout, stderr := agentRun(t, dir, c.env, args...)
		if code != c.code || stdout != c.stdout || stderr != "" {
			t.Errorf("%s: code %d, %q, %q", c.script, code, stdout, stderr)
		}
		if files, err := os.ReadDir(filepath.Join(dir, "holdfast")); err != nil || len(files) > 0 {
			t.Errorf("%s: left %v, %v", c.script, files, err)
		}
	}
	code, stdout, stderr := agentRun(t, dir, nil, "--private-key", "key.pem", "--", "no-such-command")
	if code != 127 || stdout != "" || !strings.Contains(stderr, "no-such-command") {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
}

// TestLifetime: without a command, the agent ends.
func TestLifetime(t *testing.T) {
	dir := newKey(t)
	if code, stdout, stderr := agentRun(t, dir, nil, "--private-key", "key.pem", "--lifetime", "1s"); code != 0 || !strings.HasPrefix(stdout, "SSH_AUTH_SOCK=") || stderr != "" {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
}

// TestConfirm: each signature is asked for.
func TestConfirm(t *testing.T) {
	dir := newKey(t)
	askpass := filepath.Join(dir, "askpass")
	if err := clitest.WriteProgram(askpass, []byte("#!/bin/sh\necho \"$1\" >>question\ntest -e yes\n")); err != nil {
		t.Fatal(err)
	}
	a := start(t, dir, []string{"SSH_ASKPASS=" + askpass, "SSH_ASKPASS_REQUIRE=force"}, "--confirm", "--private-key", "key.pem")
	write(t, dir, "key.pub", a.must("", "ssh-add", "-L"))
	if out, err := a.run("", "ssh-add", "-T", "key.pub"); err == nil {
		t.Errorf("signed without a yes: %s", out)
	}
	write(t, dir, "yes", "")
	a.must("", "ssh-add", "-T", "key.pub")
	question, err := os.ReadFile(filepath.Join(dir, "question"))
	if err != nil || strings.Count(string(question), "Allow use of key key.pem?\nKey fingerprint SHA256:") != 2 {
		t.Errorf("%v, %q", err, question)
	}
	// What OpenSSH's programs sign is known.
	host := newHost(t, signertest.Require(t, "openssh", "/usr/sbin/sshd"), dir)
	public, err := os.ReadFile(filepath.Join(dir, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "authorized_keys", string(public))
	host.login(a, "")
	a.must("message", "ssh-keygen", "-Y", "sign", "-n", "file", "-f", "key.pub")
	fingerprint := strings.Fields(a.must("", "ssh-keygen", "-l", "-f", "host.pub"))[1]
	question, err = os.ReadFile(filepath.Join(dir, "question"))
	for _, want := range []string{fmt.Sprintf("Login as %q at the host with the key %s.\n", host.user(), fingerprint), "Signature of a file or a commit for \"file\".\n"} {
		if err != nil || !strings.Contains(string(question), want) {
			t.Errorf("%v, %q, want %q", err, question, want)
		}
	}
	if !strings.Contains(a.log.String(), "the person did not allow the signature") {
		t.Error("the refusal is not logged")
	}
	a.stop()
}

// TestAsFirstProcess: as PID 1 of a container, the agent leaves the exit status of the
// programs that it starts to those who wait for them.
func TestAsFirstProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		signertest.Skip(t, "root", errors.New("only root can create a PID namespace here"))
	}
	dir := newKey(t)
	askpass := filepath.Join(dir, "askpass")
	if err := clitest.WriteProgram(askpass, []byte("#!/bin/sh\n")); err != nil {
		t.Fatal(err)
	}
	script := `ssh-add -L >key.pub; for i in 1 2 3 4 5 6 7 8 9 10; do ssh-add -T key.pub || exit 9; done; exit 7`
	cmd := exec.Command("holdfast", "ssh-agent", "--confirm", "--private-key", "key.pem", "--", "sh", "-c", script)
	cmd.Dir, cmd.Env = dir, environ(dir, "SSH_ASKPASS="+askpass, "SSH_ASKPASS_REQUIRE=force")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		signertest.Skip(t, "root", err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 || stderr.Len() > 0 {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}

// TestSocketAfterKeys: no client waits while a key is opened, and the name is taken.
func TestSocketAfterKeys(t *testing.T) {
	dir := newKey(t)
	program := filepath.Join(dir, "signer")
	if err := clitest.WriteProgram(program, []byte("#!/bin/sh\nexec >\""+dir+"/seen\" 2>&1\nls \""+dir+"/run\"\nexec holdfast ssh-agent --socket \""+dir+"/run/s\" --private-key \""+dir+"/key.pem\"\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := agentRun(t, dir, nil, "--socket", "run/s", "--private-key", "exec:program="+program+";key=x")
	if code != 5 || stdout != "" || !strings.Contains(stderr, "the program has ended") {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
	seen, err := os.ReadFile(filepath.Join(dir, "seen"))
	if err != nil || !strings.HasPrefix(string(seen), "s.lock\nholdfast: ") || !strings.Contains(string(seen), "another agent listens there") {
		t.Errorf("%v, %q", err, seen)
	}
	if files, err := os.ReadDir(filepath.Join(dir, "run")); err != nil || len(files) > 0 {
		t.Errorf("left %v, %v", files, err)
	}
}

// TestHangup: when its terminal is closed, the agent ends as with SIGTERM, also while a
// program opens a key; with nohup it stays.
func TestHangup(t *testing.T) {
	dir := newKey(t)
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP) // programs inherit an ignored signal, but not this
	defer signal.Stop(caught)
	a := start(t, dir, nil, "--private-key", "key.pem")
	a.stopWith(syscall.SIGHUP)

	signal.Ignore(syscall.SIGHUP) // no other test of the package runs at the same time
	ignoring := start(t, dir, nil, "--private-key", "key.pem")
	signal.Notify(caught, syscall.SIGHUP)
	if err := ignoring.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	ignoring.must("", "ssh-add", "-L")
	ignoring.stop()

	program, fifo := filepath.Join(dir, "signer"), filepath.Join(dir, "fifo")
	if err := errors.Join(syscall.Mkfifo(fifo, 0o600), clitest.WriteProgram(program, []byte("#!/bin/sh\nexec 3>\""+fifo+"\"\nsleep 1000\n"))); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("holdfast", "ssh-agent", "--socket", "s", "--private-key", "exec:program="+program+";key=x")
	cmd.Dir, cmd.Env = dir, environ(dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	opened, err := os.Open(fifo) // waits for the program
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "interrupted") && !strings.Contains(stderr.String(), "hangup signal received") {
		t.Errorf("code %d, %s", code, &stderr)
	}
	if _, err := io.ReadAll(opened); err != nil { // until the program has ended
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "s*.lock")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestSecondAgent: an agent that listens is not replaced, one that was killed is.
func TestSecondAgent(t *testing.T) {
	dir := newKey(t)
	first := start(t, dir, nil, "--private-key", "key.pem")
	code, stdout, stderr := agentRun(t, dir, nil, "--private-key", "key.pem")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "another agent listens there") {
		t.Errorf("code %d, %q, %q", code, stdout, stderr)
	}
	first.must("", "ssh-add", "-L")
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait()
	second := start(t, dir, nil, "--private-key", "key.pem")
	second.must("", "ssh-add", "-L")
	if err := second.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(second.rest)
	if err := second.Wait(); err != nil {
		t.Error(err)
	}
}

// TestProgramWithoutSecretsOfOthers: the program of a key gets the environment without the
// other keys and their PINs.
func TestProgramWithoutSecretsOfOthers(t *testing.T) {
	dir := newKey(t)
	program, err := exec.LookPath(exectest.Name)
	if err == nil {
		err = clitest.WriteProgram(filepath.Join(dir, "signer"), []byte("#!/bin/sh\nenv >>env\nexec '"+program+"'\n"))
	}
	if err != nil {
		t.Fatal(err)
	}
	key := string(signertest.KeyPEM(t, signertest.Key(t, "p384")))
	code, stdout, stderr := agentRun(t, dir, []string{"KEYTWO=" + key, "PINTWO=secret", "OTHER=other"},
		"--private-key", "exec:program=./signer;key=key.pem;pin-source=env:PINTWO", "--private-key", "env:KEYTWO", "--", "true")
	env, err := os.ReadFile(filepath.Join(dir, "env"))
	if code != 0 || stdout != "" || stderr != "" || err != nil || !strings.Contains(string(env), "OTHER=other\n") || strings.Contains(string(env), "PRIVATE KEY") || strings.Contains(string(env), "TWO=") {
		t.Errorf("code %d, %q, %q, %v: the program got:\n%s", code, stdout, stderr, err, env)
	}
}
