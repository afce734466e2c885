package sharedfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/filelock"
)

// lockPause is the maximum pause between two attempts to lock a file.
const lockPause = 10 * time.Millisecond

// lock prevents other processes and goroutines from writing path until unlock
// is called or the process ends. It locks a separate file, which is not
// removed, because path itself is replaced.
func lock(ctx context.Context, path string, wait time.Duration) (unlock func(), err error) {
	name := path + ".holdfast.lock"
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		f, err := openLock(name, path)
		if f != nil {
			var held bool
			if held, err = filelock.TryLock(f); held && isCurrent(f, name) {
				return func() { f.Close() }, nil
			}
			f.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		select {
		case <-time.After(lockPause/2 + rand.N(lockPause/2)):
		case <-timeout.C:
			return nil, fmt.Errorf("%s: %w: waited %v for %s", path, ErrLocked, wait, name)
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: waiting for the lock: %w", path, ctx.Err())
		}
	}
}

// openLock opens or creates the lock file name for path. It returns nil if the
// file was removed in the meantime. A new lock file gets the owner and mode of
// path, so that root does not lock out the owner. The file is opened for
// writing if the permissions allow it, because locks on NFS require that.
func openLock(name, path string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|openFlags, 0o600)
	if err == nil {
		if info, statErr := os.Lstat(path); statErr == nil && info.Mode().IsRegular() {
			if err := atomicfile.CopyOwnerAndMode(f, info); err != nil {
				return nil, errors.Join(err, f.Close(), os.Remove(name))
			}
		}
		return f, nil
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f, err = os.OpenFile(name, os.O_RDWR|openFlags, 0)
	if errors.Is(err, fs.ErrPermission) {
		f, err = os.OpenFile(name, os.O_RDONLY|openFlags, 0)
	}
	if err != nil {
		return nil, ignoreError(err, fs.ErrNotExist)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: it is not a regular file", name, ErrFormat)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isCurrent reports whether name still refers to the open file f, which may
// have been removed while its lock was awaited.
func isCurrent(f *os.File, name string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(name)
	return err == nil && os.SameFile(a, b)
}
