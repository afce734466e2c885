//go:build unix

package dropfolder

import "syscall"

const nonblock = syscall.O_NONBLOCK
