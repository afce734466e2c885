//go:build unix

package pinentry

import (
	"os"
	"syscall"
)

// terminate asks the program to end, so that it can restore a terminal.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// wasInterrupted reports whether a person ended the program, as with Ctrl-C.
func wasInterrupted(s *os.ProcessState) bool {
	status, ok := s.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && (status.Signal() == syscall.SIGINT || status.Signal() == syscall.SIGQUIT)
}
