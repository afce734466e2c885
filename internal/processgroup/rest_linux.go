package processgroup

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// endRest waits for the end of the program and kills the rest of its group. The program
// is not reaped yet, so its number is that of no other group.
func endRest(cmd *exec.Cmd) {
	pid := cmd.Process.Pid
	err := error(unix.EINTR)
	for err == unix.EINTR {
		err = unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	}
	if err == nil {
		_ = syscall.Kill(-pid, syscall.SIGKILL) // there may be no rest
	}
}
