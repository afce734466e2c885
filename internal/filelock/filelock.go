// Package filelock locks files against other processes.
package filelock

import "os"

// TryLock locks f for the caller alone, without waiting. If the lock is held
// through another opening of the file, be it by this process, held is false and
// err nil. The lock is free when f is closed and when the process ends. It keeps
// those out who lock the file too; on Windows also those who read or write it.
func TryLock(f *os.File) (held bool, err error) { return tryLock(f) }
