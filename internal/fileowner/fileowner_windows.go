package fileowner

import "io/fs"

const overflowUID = -1 // no user

func isMapped(int) bool { return true }

func isRoot() bool { return false }

func owner(string) (uid int, known bool) { return 0, false }

// UID returns the owner of a file, which is unknown on Windows.
func UID(fs.FileInfo) (uid int, known bool) { return 0, false }

// Exposed returns "": files inherit the permissions of the user's profile, which the
// mode does not show.
func Exposed(fs.FileInfo) string { return "" }

// Nonblock is 0: Windows has no files whose opening waits for another program.
const Nonblock = 0
