// Package child runs the command of a person as a child of this process: exec and
// ssh-agent serve it until it ends. Within Holdfast it imports front and signer.
package child

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer"
)

// The exit codes for a command that did not run (POSIX, Shell Command Language,
// section 2.8.2).
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// NotRun returns err with the exit code of a shell that cannot run a command.
func NotRun(err error) error {
	code, hint := exitNotExecutable, "check that the command is a program for this system, or a script whose first line names its interpreter, such as #!/bin/sh"
	var start *fs.PathError
	switch {
	case errors.Is(err, exec.ErrNotFound):
		code, hint = exitNotFound, "check the command's name and PATH"
	case errors.Is(err, fs.ErrNotExist) && errors.As(err, &start) && start.Op == "fork/exec": // of a file that exists
		code, hint = exitNotFound, "check the first line of the script: its interpreter does not exist"
	case errors.Is(err, fs.ErrNotExist):
		code, hint = exitNotFound, "check the command's name"
	case errors.Is(err, fs.ErrPermission):
		hint = "check the command's name, and make the file executable with chmod +x"
	}
	return &front.CodeError{Code: code, Err: signer.WithHint(err, hint)}
}

// Run runs a command and forwards signals to it. If ctx is already done,
// the command is not started. Later, the end of ctx has no effect.
func Run(ctx context.Context, child *exec.Cmd) error {
	signals := make(chan os.Signal, 16)
	for _, s := range forwardedSignals {
		if !signal.Ignored(s) { // the child inherits ignored signals, for example from nohup
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return NotRun(err)
	}
	ended := make(chan struct{})
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		for {
			select {
			case s := <-signals:
				if !sentByTerminal(s) {
					_ = child.Process.Signal(s) // the child may have exited
				}
			case <-ended:
				return
			}
		}
	}()
	code, err := wait(child)
	close(ended)
	<-passed
	if err == nil && code != 0 {
		err = &front.StatusError{Code: code}
	}
	return err
}

// waitAlone waits for a child and returns its exit code.
func waitAlone(child *exec.Cmd) (code int, err error) {
	err = child.Wait()
	var exit *exec.ExitError
	if err == nil || errors.As(err, &exit) {
		return exitCode(child.ProcessState), nil
	}
	return 0, err
}
