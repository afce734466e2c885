// Package filelock locks files against other processes.
package filelock

import "os"

// TryLock locks f exclusively without waiting. If the lock is held through
// another file descriptor, even one of this process, held is false and err is
// nil. The lock ends when f is closed and when the process ends. It excludes
// other calls of TryLock; on Windows it also blocks reads and writes of the first
// byte through other handles.
func TryLock(f *os.File) (held bool, err error) { return tryLock(f) }
