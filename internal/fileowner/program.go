package fileowner

import (
	"fmt"
	"io/fs"
	"os"
)

// A ProgramError reports that other users could replace or change a program, so that it
// must not be started, or the file of a service.
type ProgramError struct {
	Path   string // of the program, or of a folder on the way to it
	Why    string // such as: can be written by other users (mode 0777)
	Folder bool   // Path is a folder

	Foreign bool // Path belongs to another user
	Group   bool // Path belongs to this user or root, but its group can write it
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
		move := "move the program to a folder that only root and the user who runs it can write, such as /usr/local/bin"
		if e.Group {
			move = "let only its owner write the folder: chmod g-w " + e.Path + "; or " + move
		}
		return move
	}
	if e.Foreign {
		return "let the program belong to root or to the user who runs it"
	}
	return "let nobody else write the program: chmod go-w " + e.Path
}

// CheckProgram fails with a [*ProgramError] if others than root and this user can write
// the file at path, or the folder that holds it. The same applies to the folder of each
// symbolic link on the way, which it follows as the system does. It does not look at the
// other folders above. It fails with the error of [os.Stat] if there is no such file. On
// Windows, where a mode does not show who can write, it checks only that.
func CheckProgram(path string) error {
	place, err := walk(path, func(folder string, decides bool) error {
		if !decides {
			return nil
		}
		return checkFolder(folder, 0)
	})
	if err != nil || place == "" {
		return err
	}
	info, err := os.Lstat(place)
	if err != nil {
		return err
	}
	if e := writable(info, 0); e != nil {
		e.Path = place
		return e
	}
	return nil
}

// CheckPlace fails with a [*ProgramError] about a folder if others than root, this user and
// the user with this UID could have put the file at path there: if they can write a folder
// on the way to it, which it follows as the system does, symbolic links included. A folder
// such as /tmp counts as one that all users can write. It fails with the error of
// [os.Stat] if there is no such file. On Windows, it checks only that.
func CheckPlace(path string, uid int) error {
	_, err := walk(path, func(folder string, _ bool) error { return checkFolder(folder, uid) })
	return err
}

// checkFolder returns a [*ProgramError] if others than root, this user and the user with
// this UID can write a folder.
func checkFolder(folder string, uid int) error {
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	if e := writable(info, uid); e != nil {
		e.Path, e.Folder = folder, true
		return e
	}
	return nil
}

// writable returns an error without a path if others than root, this user and the user
// with the UID friend can write a file or folder.
func writable(info fs.FileInfo, friend int) *ProgramError {
	uid, known := UID(info)
	switch {
	case !known:
		return nil
	case uid != 0 && uid != os.Geteuid() && uid != friend && (uid != overflowUID || isMapped(uid)):
		return &ProgramError{Why: fmt.Sprintf("belongs to another user (UID %d)", uid), Foreign: true}
	case info.Mode().Perm()&0o022 == 0o020:
		return &ProgramError{Why: fmt.Sprintf("can be written by its group (mode %#o)", info.Mode().Perm()), Group: true}
	case info.Mode().Perm()&0o022 != 0:
		return &ProgramError{Why: fmt.Sprintf("can be written by other users (mode %#o)", info.Mode().Perm())}
	}
	return nil
}
