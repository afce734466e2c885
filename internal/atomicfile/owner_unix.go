//go:build unix

package atomicfile

import (
	"io/fs"
	"os"
	"syscall"
)

// CopyOwnerAndMode sets the owner, group and mode of f to those in from. Only
// root may change the owner, and only members of a group may set that group. On
// Windows it copies only the mode: a new file inherits the access control list of
// its folder.
func CopyOwnerAndMode(f *os.File, from fs.FileInfo) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	got, want := info.Sys().(*syscall.Stat_t), from.Sys().(*syscall.Stat_t)
	if got.Uid != want.Uid || got.Gid != want.Gid {
		if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(from.Mode().Perm())
}
