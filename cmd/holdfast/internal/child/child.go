// Package child runs the command of a person as a child of this process: exec and
// ssh-agent serve it until it ends. Within Holdfast it imports front and signer.
package child

import (
	"context"
	"errors"
	"fmt"
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
	var found *exec.Error // its text begins as a reference to a program, exec:
	if errors.As(err, &found) {
		reason := found.Err
		if errors.As(reason, &start) {
			reason = start.Err
		}
		err = fmt.Errorf("command %q: %w", found.Name, reason)
	}
	return &front.CodeError{Code: code, Err: signer.WithHint(err, hint)}
}

// Run runs a command and forwards signals to it. If ctx is already done,
// the command is not started. Later, the end of ctx has no effect.
func Run(ctx context.Context, child *exec.Cmd) error { return run(ctx, child, waitAlone) }

// AsFirst runs this program again with environ if it is the first process of a container
// (PID 1), and ends with it. It then also collects the processes that the command of the
// person left behind, as nothing else does (wait(2)). The process that does so has no
// other children, since it would take their exit status from package os/exec. Elsewhere,
// or without /proc, ran is false. Call it before anything that starts a program.
func AsFirst(ctx context.Context, environ []string) (ran bool, err error) {
	if os.Getpid() != 1 {
		return false, nil
	}
	path, err := os.Executable()
	if err != nil {
		return false, nil // what is left behind stays
	}
	again := exec.Command(path, os.Args[1:]...)
	again.Args[0] = os.Args[0]
	again.Env = environ
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	return true, run(ctx, again, waitAll)
}

func run(ctx context.Context, child *exec.Cmd, wait func(*exec.Cmd) (code int, err error)) error {
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
