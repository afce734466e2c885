//go:build unix

package sharedfile

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const isPOSIX = true

// openFlags make opening fail if the last path element is a symbolic link,
// which may have been created after the path was resolved, and prevent blocking
// on a FIFO.
const openFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK

const errLoop = unix.ELOOP

// copyOwner sets the owner and group of f to those in from. Only root may
// change the owner, and only members of a group may set that group.
func copyOwner(f *os.File, from fs.FileInfo) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	got, want := info.Sys().(*syscall.Stat_t), from.Sys().(*syscall.Stat_t)
	if got.Uid == want.Uid && got.Gid == want.Gid {
		return nil
	}
	return f.Chown(int(want.Uid), int(want.Gid))
}
