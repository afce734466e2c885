//go:build unix

package doctor

import (
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// foreignGroup returns the name of the group of a file, and whether it is another
// one than the main group of this process.
func foreignGroup(info fs.FileInfo) (name string, foreign bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	name = strconv.FormatUint(uint64(stat.Gid), 10)
	if g, err := user.LookupGroupId(name); err == nil {
		name = g.Name
	}
	return name, stat.Gid != 0 && int(stat.Gid) != os.Getegid()
}
