//go:build unix

package sharedfile

import "golang.org/x/sys/unix"

const isPOSIX = true

// openFlags make opening fail if the last path element is a symbolic link,
// which may have been created after the path was resolved, and prevent blocking
// on a FIFO.
const openFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK

const errLoop = unix.ELOOP
