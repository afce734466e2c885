//go:build unix

package fileowner

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

func isRoot() bool { return os.Geteuid() == 0 }

// overflowUID is the owner that Linux reports for files of users whom a user
// namespace does not map (user_namespaces(7)).
const overflowUID = 65534

// owner returns the owner of a folder. It is not known if the user namespace
// does not map it: there, root has no more rights than anybody else.
func owner(folder string) (uid int, known bool) {
	info, err := os.Stat(folder)
	if err != nil {
		return 0, false
	}
	uid, known = UID(info)
	return uid, known && (uid != overflowUID || isMapped(uid))
}

// UID returns the owner of a file.
func UID(info fs.FileInfo) (uid int, known bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}

// isMapped reports whether the user namespace of this process has a user with
// this UID. Systems without user namespaces have every user.
func isMapped(uid int) bool {
	f, err := os.Open("/proc/self/uid_map")
	if err != nil {
		return true
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var first, outside, count int64
		if n, _ := fmt.Sscan(lines.Text(), &first, &outside, &count); n == 3 && int64(uid) >= first && int64(uid)-first < count {
			return true
		}
	}
	return false
}
