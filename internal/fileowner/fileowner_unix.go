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

// Exposed describes how other users could have read or written a file or folder.
// It returns "" if they could not.
func Exposed(info fs.FileInfo) string {
	uid, known := UID(info)
	switch {
	case !known:
		return "has no owner information"
	case uid != os.Geteuid():
		return fmt.Sprintf("belongs to another user (UID %d)", uid)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Sprintf("is accessible to other users (mode %#o)", info.Mode().Perm())
	}
	return ""
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

// Nonblock is the flag with which a file is opened that somebody else may have replaced by a
// pipe: without it, opening waits for a writer.
const Nonblock = syscall.O_NONBLOCK
