package child

import (
	"os"
	"os/exec"
)

// forwardedSignals are the signals that [Run] catches, so that they do not end
// it.
var forwardedSignals = []os.Signal{os.Interrupt}

// sentByTerminal reports whether the child received the signal too. A console
// sends Ctrl-C to all its processes.
func sentByTerminal(os.Signal) bool { return true }

func exitCode(s *os.ProcessState) int { return s.ExitCode() }

func wait(child *exec.Cmd) (code int, err error) { return waitAlone(child) }
