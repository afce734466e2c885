//go:build unix

package credentials

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// exposed says how others could have read or written a file or folder; "" if
// they could not.
func exposed(info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return "does not tell whose it is"
	case int(stat.Uid) != os.Geteuid():
		return fmt.Sprintf("belongs to another user, %d", stat.Uid)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Sprintf("is open to others, mode %#o", info.Mode().Perm())
	}
	return ""
}

func lockFile(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		default:
			return err
		}
	}
}
