//go:build unix

package credentials

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// exposed describes how other users could have read or written a file or
// folder. It returns "" if they could not.
func exposed(info fs.FileInfo) string {
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return "has no owner information"
	case int(stat.Uid) != os.Geteuid():
		return fmt.Sprintf("belongs to another user (UID %d)", stat.Uid)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Sprintf("is accessible to other users (mode %#o)", info.Mode().Perm())
	}
	return ""
}
