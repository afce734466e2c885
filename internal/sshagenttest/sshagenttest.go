// Package sshagenttest runs OpenSSH's ssh-agent for tests.
package sshagenttest

import (
	"bufio"
	"crypto"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// An Agent is a process of ssh-agent. It ends with the test. It is not safe for
// concurrent use.
type Agent struct {
	Socket string

	tb  testing.TB
	dir string
	cmd *exec.Cmd
}

// Start runs ssh-agent, or skips the test; see [signertest.Require]. The agent asks a
// person for a confirmation with the program askpass; "": it never can.
func Start(tb testing.TB, askpass string) *Agent {
	tb.Helper()
	signertest.Require(tb, "openssh", "ssh-agent")
	signertest.Require(tb, "openssh", "ssh-add")
	dir, err := os.MkdirTemp("", "agent") // the path of a socket is short
	if err != nil {
		tb.Fatal(err)
	}
	a := &Agent{Socket: filepath.Join(dir, "socket"), tb: tb, dir: dir}
	tb.Cleanup(func() {
		a.Stop()
		os.RemoveAll(dir)
	})
	a.Restart(askpass)
	return a
}

// Stop ends the process. Its keys are lost, and its socket stays.
func (a *Agent) Stop() {
	if a.cmd != nil {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
		a.cmd = nil
	}
}

// Restart ends the process, if there is one, and runs another one with the same socket.
func (a *Agent) Restart(askpass string) {
	a.tb.Helper()
	a.Stop()
	_ = os.Remove(a.Socket)
	cmd := exec.Command("ssh-agent", "-D", "-a", a.Socket)
	cmd.Env = append(os.Environ(), "SSH_ASKPASS="+askpass, "SSH_ASKPASS_REQUIRE=force")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		a.tb.Fatal(err)
	}
	a.cmd = cmd
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it listens
		a.tb.Fatalf("ssh-agent: %q, %v", line, err)
	}
}

// Add adds a key with a comment. flags are those of ssh-add.
func (a *Agent) Add(key crypto.Signer, comment string, flags ...string) {
	a.tb.Helper()
	block, err := ssh.MarshalPrivateKey(key, comment)
	if err != nil {
		a.tb.Fatal(err)
	}
	path := filepath.Join(a.dir, "key")
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		a.tb.Fatal(err)
	}
	a.Run(append(flags, "-q", path)...)
	_ = os.Remove(path)
}

// Run runs ssh-add and returns what it prints. It answers questions with "secret".
func (a *Agent) Run(args ...string) string {
	a.tb.Helper()
	answer := filepath.Join(a.dir, "answer")
	if err := os.WriteFile(answer, []byte("#!/bin/sh\necho secret\n"), 0o700); err != nil {
		a.tb.Fatal(err)
	}
	cmd := exec.Command("ssh-add", args...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK="+a.Socket, "SSH_ASKPASS="+answer, "SSH_ASKPASS_REQUIRE=force")
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.tb.Fatalf("ssh-add %q: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}
