//go:build unix

package program

import (
	"os/exec"
	"syscall"
)

// bound ends the processes that the program has started together with it.
func bound(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
