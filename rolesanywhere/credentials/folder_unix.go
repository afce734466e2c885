//go:build unix

package credentials

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
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
