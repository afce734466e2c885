package credentials

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// exposed leaves the matter to the permissions of the user's profile, which
// the folder inherits: the mode tells nothing of them.
func exposed(fs.FileInfo) string { return "" }

func lockFile(f *os.File) error {
	const exclusive = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), exclusive, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}
