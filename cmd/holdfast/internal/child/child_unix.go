//go:build unix

package child

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// forwardedSignals are the signals that [Run] forwards to its child. Signals
// that stop or continue a job are sent to the process group, which contains
// both.
var forwardedSignals = []os.Signal{
	syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP,
	syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM,
}

// sentByTerminal reports whether the terminal has probably sent the signal to
// the child too. A terminal sends Ctrl-C and Ctrl-\ to the whole foreground
// process group (POSIX, General Terminal Interface). The child must not receive
// the signal twice: some programs abort their cleanup at the second Ctrl-C.
func sentByTerminal(s os.Signal) bool {
	if s != syscall.SIGINT && s != syscall.SIGQUIT {
		return false
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// wait waits for a child and returns its exit code. As the first process of a
// container (PID 1), it also collects the processes that the child left behind,
// as nothing else does (wait(2)).
func wait(child *exec.Cmd) (code int, err error) {
	if os.Getpid() != 1 {
		return waitAlone(child)
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case pid == child.Process.Pid:
			return statusCode(status), child.Process.Release()
		}
	}
}

// exitCode returns the exit status that a shell reports for a process.
func exitCode(s *os.ProcessState) int {
	if status, ok := s.Sys().(syscall.WaitStatus); ok {
		return statusCode(status)
	}
	return s.ExitCode()
}

func statusCode(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
