package sharedfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"github.com/holdfast-dev/holdfast/internal/filelock"
)

// lockPause is the longest pause between two tries to get a lock.
const lockPause = 10 * time.Millisecond

// lock keeps other processes, and other goroutines, from writing path until
// unlock is called or the process ends. The lock is on a file of its own that
// stays there, since path itself is replaced.
func lock(ctx context.Context, path string, wait time.Duration) (unlock func(), err error) {
	name := path + ".holdfast.lock"
	patience := time.NewTimer(wait)
	defer patience.Stop()
	for {
		f, err := openLock(name, path)
		if f != nil {
			var held bool
			if held, err = filelock.TryLock(f); held && isAt(f, name) {
				return func() { f.Close() }, nil
			}
			f.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("lock: %w", err)
		}
		select {
		case <-time.After(lockPause/2 + rand.N(lockPause/2)):
		case <-patience.C:
			return nil, fmt.Errorf("%s: %w: waited %v for %s", path, ErrLocked, wait, name)
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: waiting for the lock: %w", path, ctx.Err())
		}
	}
}

// openLock opens the lock file; nil if it was removed just now. A new one gets
// the owner and mode of the file that it is for, so that root does not lock out
// the owner. It is open for writing where that is allowed, as NFS wants.
func openLock(name, path string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|openFlags, 0o600)
	if err == nil {
		if info, statErr := os.Lstat(path); statErr == nil && info.Mode().IsRegular() {
			if err := keep(f, info); err != nil {
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
		return nil, ignore(err, fs.ErrNotExist)
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

// isAt reports whether f is still what name leads to, and was not removed
// while it was waited for.
func isAt(f *os.File, name string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(name)
	return err == nil && os.SameFile(a, b)
}
