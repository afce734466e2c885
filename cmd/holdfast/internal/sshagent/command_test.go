//go:build linux

package sshagent_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
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
		{script: `ssh-add -L | cut -d' ' -f1,3; echo $SSH_AUTH_SOCK`, stdout: "ecdsa-sha2-nistp256 key.pem\n" + dir + "/holdfast/ssh-agent.sock\n"},
		{script: `exit 7`, code: 7},
		{script: `kill -TERM $$`, code: 128 + 15},
		{script: `echo ${SSH_AGENT_PID-none} ${SECRET-none} $OTHER`, stdout: "none none other\n", env: []string{"SSH_AGENT_PID=1", "SSH_AUTH_SOCK=/none", "SECRET=x", "OTHER=other"}, flags: []string{"--pin-source", "env:SECRET"}},
		{script: `ssh-add -L >/dev/null && while ssh-add -L >/dev/null; do :; done; ssh-add -L; exit 5`, stdout: "The agent has no identities.\n", flags: []string{"--lifetime", "1s"}, code: 5},
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
	if code, stdout, stderr := agentRun(t, dir, nil, "--private-key", "key.pem", "--lifetime", "1ms"); code != 0 || !strings.HasPrefix(stdout, "SSH_AUTH_SOCK=") || stderr != "" {
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
	if !strings.Contains(a.log.String(), "the person did not allow the signature") {
		t.Error("the refusal is not logged")
	}
	a.stop()
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
