//go:build unix

package pinentry

import (
	"os"
	"syscall"
)

// terminate asks the program to end, so that it can restore a terminal.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
