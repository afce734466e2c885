//go:build unix

package ecp

import (
	"os"

	"golang.org/x/sys/unix"
)

// ProtocolOut returns standard output for the protocol alone: what a PKCS #11 module
// prints there goes to standard error from now on. Call it once, before a module is
// loaded.
func ProtocolOut() *os.File {
	fd, err := unix.FcntlInt(1, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil { // it is closed
		return os.Stdout
	}
	if err := unix.Dup2(2, 1); err != nil { // standard error is closed
		_ = unix.Close(fd)
		return os.Stdout
	}
	return os.NewFile(uintptr(fd), os.Stdout.Name())
}
