package fileowner

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A FolderError reports that other users could lead a path elsewhere.
type FolderError struct {
	Path string // a folder of the way, or a symbolic link
	Link bool   // Path is a symbolic link
	Why  string // such as: belongs to another user (UID 1000)
}

// Error implements error.
func (e *FolderError) Error() string {
	what := "the folder"
	if e.Link {
		what = "the symbolic link"
	}
	return fmt.Sprintf("%s %s %s", what, e.Path, e.Why)
}

// Unwrap returns [fs.ErrPermission].
func (e *FolderError) Unwrap() error { return fs.ErrPermission }

// CheckFolders fails with a [*FolderError] if others than root and this user could
// replace one of the folders on the way to the file at path, up to the root and also
// where symbolic links lead, or replace the file. In a folder with the sticky bit, such
// as /tmp, others can create files, but not replace them. The file does not have to
// exist, and is not looked at if it does; its folder must exist. On Windows, where the
// mode does not show who can write, it always returns nil.
func CheckFolders(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil {
		return err
	} else if _, known := UID(info); !known {
		return nil
	}
	place, rest := "/", filepath.Dir(path)
	for links := 0; ; {
		info, err := os.Lstat(place)
		if err != nil {
			return err
		}
		switch why := replaceable(info); {
		case why != "":
			return &FolderError{Path: place, Link: info.Mode().Type() == fs.ModeSymlink, Why: why}
		case info.Mode().Type() == fs.ModeSymlink:
			if links++; links > maxLinks {
				return &fs.PathError{Op: "open", Path: path, Err: syscall.ELOOP}
			}
			target, err := os.Readlink(place)
			if err != nil {
				return err
			}
			if place = filepath.Dir(place); filepath.IsAbs(target) {
				place = "/"
			}
			rest = target + "/" + rest // not cleaned: .. is the folder above the target of a link
			continue
		}
		if rest = strings.TrimLeft(rest, "/"); rest == "" {
			return nil
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		place = filepath.Join(place, name) // place has no symbolic links
	}
}

// replaceable says how others than root and this user could replace what is in a folder,
// or where a symbolic link leads. It returns "" if they could not.
func replaceable(info fs.FileInfo) string {
	e := writable(info, 0)
	link := info.Mode().Type() == fs.ModeSymlink // its mode has no meaning
	if e == nil || !e.Foreign && (link || info.Mode()&fs.ModeSticky != 0) {
		return ""
	}
	return e.Why
}
