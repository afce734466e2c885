package fileowner

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A ProgramError reports that other users could replace or change a program, so that it
// must not be started.
type ProgramError struct {
	Path   string // of the program, or of the folder that holds it or a link to it
	Why    string // such as: can be written by other users (mode 0777)
	Folder bool   // Path is a folder

	Foreign bool // Path belongs to another user
}

// Error implements error.
func (e *ProgramError) Error() string {
	what := "the program"
	if e.Folder {
		what = "the folder"
	}
	return fmt.Sprintf("%s %s %s", what, e.Path, e.Why)
}

// Unwrap returns [fs.ErrPermission].
func (e *ProgramError) Unwrap() error { return fs.ErrPermission }

// Hint says how to avoid the error.
func (e *ProgramError) Hint() string {
	if e.Folder {
		return "move the program to a folder that only root and the user who runs it can write, such as /usr/local/bin"
	}
	if e.Foreign {
		return "let the program belong to root or to the user who runs it"
	}
	return "let nobody else write the program: chmod go-w FILE"
}

// CheckProgram fails with a [*ProgramError] if others than root and this user can write
// the file at path, or the folder that holds it. The same applies to each symbolic link
// on the way. It does not look at the folders above. It fails with the error of
// [os.Stat] if there is no such file. On Windows, where a mode does not show who can
// write, it checks only that.
func CheckProgram(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	for range maxLinks {
		folder, err := os.Stat(filepath.Dir(path))
		if err != nil {
			return err
		}
		if e := writable(folder); e != nil {
			e.Path, e.Folder = filepath.Dir(path), true
			return e
		}
		target, err := os.Readlink(path)
		if err != nil { // no link
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(realFolder(path), target)
		}
		path = target
	}
	if e := writable(info); e != nil {
		e.Path = path
		return e
	}
	return nil
}

// realFolder returns the folder of path without symbolic links, against which the
// target of a link is resolved.
func realFolder(path string) string {
	dir := filepath.Dir(path)
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// writable returns an error without a path if others than root and this user can write a
// file or folder.
func writable(info fs.FileInfo) *ProgramError {
	uid, known := UID(info)
	switch {
	case !known:
		return nil
	case uid != 0 && uid != os.Geteuid() && (uid != overflowUID || isMapped(uid)):
		return &ProgramError{Why: fmt.Sprintf("belongs to another user (UID %d)", uid), Foreign: true}
	case info.Mode().Perm()&0o022 != 0:
		return &ProgramError{Why: fmt.Sprintf("can be written by other users (mode %#o)", info.Mode().Perm())}
	}
	return nil
}
