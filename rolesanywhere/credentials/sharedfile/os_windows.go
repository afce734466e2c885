package sharedfile

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

const isPOSIX = false

const openFlags = 0

const errLoop = windows.ERROR_CANT_RESOLVE_FILENAME

func tryLock(f *os.File) (held bool, err error) {
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY,
		0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return false, nil
	}
	return err == nil, err
}

// keepOwner has nothing to do: a new file takes the access list of its folder.
func keepOwner(*os.File, fs.FileInfo) error { return nil }
