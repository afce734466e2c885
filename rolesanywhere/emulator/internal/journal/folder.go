package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
)

const (
	fileName  = "state.jsonl"
	lockName  = "state.lock"        // never removed
	temporary = "state-*.jsonl.tmp" // pattern of the files that Compact writes

	// lockWait is how long Open waits for another process that is about to end.
	lockWait  = 2 * time.Second
	lockPause = 10 * time.Millisecond
)

// A FolderError says why the folder is not used.
type FolderError struct {
	Path, Why string // of the folder or of a file in it
	hint      string
}

// Error implements error.
func (e *FolderError) Error() string { return e.Path + ": " + e.Why }

// Hint returns the way out.
func (e *FolderError) Hint() string { return e.hint }

// makeFolder creates the folder, or checks the one that exists.
func makeFolder(folder string) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(filepath.Clean(folder)) // with a slash at the end, it would follow a link
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return &FolderError{folder, "the state folder is a symbolic link", "name the folder to which the link leads"}
	}
	return checkOwner(info, folder)
}

// checkOwner refuses the state folder or a file in it if others could have read or
// written it.
func checkOwner(info fs.FileInfo, path string) error {
	why := fileowner.Exposed(info)
	if why == "" {
		return nil
	}
	command := "chmod 600"
	if info.IsDir() {
		command = "chmod 700"
	}
	return &FolderError{path, "the state " + why,
		fmt.Sprintf("make it accessible to you only (%s %s), or name a folder that does not exist yet", command, path)}
}

// openOwn is openRegular for a file that others could not have changed.
func openOwn(folder, name string, flag int) (*os.File, error) {
	path := filepath.Join(folder, name)
	f, err := openRegular(path, flag)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkOwner(info, path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func lockFolder(folder string) (*os.File, error) {
	f, err := openOwn(folder, lockName, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(lockPause) {
		held, err := filelock.TryLock(f)
		if held {
			return f, nil
		}
		if err == nil && time.Now().Before(end) {
			continue
		}
		if err == nil {
			err = &FolderError{folder, "another emulator uses this state folder", "end that emulator, or use another folder"}
		} else {
			err = fmt.Errorf("%s: %w", folder, err)
		}
		return nil, errors.Join(err, f.Close())
	}
}

// openRegular does not follow a symbolic link, because Compact would replace the link,
// and does not wait for the other end of a pipe.
func openRegular(path string, flag int) (*os.File, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	return os.OpenFile(path, flag, 0o600)
}

// removeTemporary removes the files of processes that were killed in Compact.
func removeTemporary(folder string) error {
	entries, err := os.ReadDir(folder)
	for _, e := range entries {
		if ok, _ := filepath.Match(temporary, e.Name()); ok {
			err = errors.Join(err, os.Remove(filepath.Join(folder, e.Name())))
		}
	}
	return err
}
