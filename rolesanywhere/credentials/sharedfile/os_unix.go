//go:build unix

package sharedfile

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const isPOSIX = true

// openFlags refuse a symbolic link in the last step, which somebody put there
// after it was looked at, and do not wait at a FIFO.
const openFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK

const errLoop = unix.ELOOP

// keepOwner gives f the owner and group of another file. Only root gives a file
// to somebody else, and only members of a group to that.
func keepOwner(f *os.File, like fs.FileInfo) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	is, want := info.Sys().(*syscall.Stat_t), like.Sys().(*syscall.Stat_t)
	if is.Uid == want.Uid && is.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}
