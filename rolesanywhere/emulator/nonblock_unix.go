//go:build unix

package emulator

import "syscall"

// nonblock lets the opening of a pipe not wait for a writer.
const nonblock = syscall.O_NONBLOCK
