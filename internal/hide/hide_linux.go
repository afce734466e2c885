// Package hide hides the secrets in the memory of this process.
package hide

import "golang.org/x/sys/unix"

// Memory hides the environment and the memory of this process, which can contain a PIN,
// from other processes of the user, such as a command that it starts (PR_SET_DUMPABLE,
// prctl(2)). It also prevents core dumps. Root can still read them. Programs that the
// process executes are not affected.
func Memory() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) } // fails only for invalid arguments
