package sshagent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer"
)

// An askpass asks a person with the program that OpenSSH uses for that (ssh(1),
// SSH_ASKPASS). It is safe for concurrent use.
type askpass struct {
	path    string
	environ []string
	turn    chan struct{} // one question at a time
}

// defaultAskpass is the program if SSH_ASKPASS is not set.
const defaultAskpass = "ssh-askpass"

// newAskpass finds the program. As with OpenSSH, there must be a display, unless
// SSH_ASKPASS_REQUIRE is force.
func newAskpass(env func(string) string, environ []string) (*askpass, error) {
	require := strings.ToLower(env("SSH_ASKPASS_REQUIRE"))
	switch {
	case require == "never":
		return nil, signer.WithHint(front.Usagef("--confirm: SSH_ASKPASS_REQUIRE=never forbids to ask"), "unset SSH_ASKPASS_REQUIRE, or leave out --confirm")
	case require != "force" && env("DISPLAY") == "" && env("WAYLAND_DISPLAY") == "":
		return nil, signer.WithHint(front.Usagef("--confirm: there is no display for a question"), "set SSH_ASKPASS_REQUIRE=force if the program of SSH_ASKPASS needs none")
	}
	program := env("SSH_ASKPASS")
	if program == "" {
		program = defaultAskpass
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, signer.WithHint(fmt.Errorf("--confirm: %w", err), "install ssh-askpass, or name a program with SSH_ASKPASS=PATH")
	}
	return &askpass{path: path, environ: append(environ[:len(environ):len(environ)], "SSH_ASKPASS_PROMPT=confirm"), turn: make(chan struct{}, 1)}, nil
}

var errRefused = errors.New("the person did not allow the signature")

// ask asks a question. As with OpenSSH, the answer is yes if the program ends with exit
// code 0 and prints nothing or the word yes.
func (p *askpass) ask(ctx context.Context, question string) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	cmd := exec.CommandContext(ctx, p.path, question)
	cmd.Env = p.environ
	out := &limited{left: maxReply}
	cmd.Stdout = out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit):
		return errRefused
	case err != nil:
		return fmt.Errorf("askpass: %w", err)
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	if line != "" && !strings.EqualFold(line, "yes") {
		return errRefused
	}
	return nil
}

const maxReply = 1 << 10 // bytes

// limited keeps the beginning of what is written to it.
type limited struct {
	bytes.Buffer
	left int
}

// Write implements [io.Writer].
func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.Buffer.Write(p[:n])
	return len(p), nil
}
