// Package fileowner decides whether this user may create files in a folder that
// belongs to somebody else, and whether others could have used a file.
package fileowner

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A ForeignError reports that root would create a file below a folder of
// another user, for example under sudo with that user's HOME. That user could
// not use the file, and could lead root elsewhere with symbolic links.
type ForeignError struct {
	Path   string // the file or folder that root would use
	Folder string // the folder that belongs to another user
	UID    int    // of that user
}

// Error implements error.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s: the folder %s belongs to %s, so root does not use it", e.Path, e.Folder, e.User())
}

// Unwrap returns [fs.ErrPermission].
func (e *ForeignError) Unwrap() error { return fs.ErrPermission }

// User returns the name of the user, or # and the UID if it has no name. sudo
// accepts both.
func (e *ForeignError) User() string {
	uid := strconv.Itoa(e.UID)
	if u, err := user.LookupId(uid); err == nil && u.Username != "" {
		return u.Username
	}
	return "#" + uid
}

// Hint returns the beginning of a command line that avoids the error.
func (e *ForeignError) Hint() string {
	return fmt.Sprintf("run the command as that user: sudo -H -u '%s' holdfast …", e.User())
}

// Check fails with a [*ForeignError] if this process runs as root and path is
// below a folder that belongs to another user, even through symbolic links.
// Neither path nor its folder has to exist. For other users Check returns nil:
// they can only write where the owner of the folder allows it. On Windows, it
// always returns nil.
func Check(path string) error {
	if !isRoot() {
		return nil
	}
	return check(path, owner)
}

// check checks each folder above path, and each folder above the place to which
// symbolic links lead.
func check(path string, owner func(folder string) (uid int, known bool)) error {
	if !filepath.IsAbs(path) {
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		path = dir + "/" + path // not cleaned
	}
	var checked []string // with all folders above them
	for _, start := range append([]string{filepath.Clean(path)}, places(path)...) {
		for folder := start; !slices.Contains(checked, folder); folder = filepath.Dir(folder) {
			checked = append(checked, folder)
			if info, err := os.Stat(folder); err == nil && info.IsDir() {
				if uid, known := owner(folder); known && uid != 0 {
					return &ForeignError{path, folder, uid}
				}
			}
		}
	}
	return nil
}

// maxLinks is the maximum number of symbolic links to follow, as in Linux.
const maxLinks = 40

// places returns where path leads: the real path of its part that exists, and
// the targets of links to files that do not exist.
func places(path string) (all []string) {
	for links := 0; links < maxLinks; {
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			return append(all, real)
		}
		parent, _ := filepath.Split(path) // not cleaned: .. is that of the target of a link
		link, err := os.Readlink(path)
		switch {
		case err == nil && !filepath.IsAbs(link):
			links++
			path = parent + link
			all = append(all, filepath.Clean(path))
		case err == nil:
			links++
			path = link
			all = append(all, filepath.Clean(path))
		case parent == path:
			return all
		default:
			path = cmp.Or(strings.TrimRight(parent, "/"), "/")
		}
	}
	return all
}
