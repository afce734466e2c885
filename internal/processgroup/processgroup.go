// Package processgroup ends programs of the user together with the processes that they
// have started.
package processgroup

import "os/exec"

// Own gives cmd, which is made with [exec.CommandContext] and not started yet, a process
// group of its own, which is killed when the context ends. So the program cannot read
// from the terminal, and Ctrl-C does not reach it. On Windows, where there are no such
// groups, only the program itself is killed.
func Own(cmd *exec.Cmd) { own(cmd) }

// Wait waits as [exec.Cmd.Wait] for a program with a group of its own. On Linux it
// kills those that the program has left in its group.
func Wait(cmd *exec.Cmd) error {
	endRest(cmd)
	return cmd.Wait()
}
