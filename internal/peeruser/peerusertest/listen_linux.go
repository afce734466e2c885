// Package peerusertest listens at Unix sockets as another user, for tests.
package peerusertest

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// Listen listens at path as the user with this UID until the test ends. The file of the
// socket belongs to that user, who must be able to write its folder. Without the rights
// of root, it skips the test.
func Listen(tb testing.TB, path string, uid int) net.Listener {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("only root can listen as another user")
	}
	type result struct {
		listener net.Listener
		err      error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		const keep = ^uintptr(0)
		// The call of package syscall would change all threads.
		if _, _, err := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, uintptr(uid), keep); err != 0 {
			done <- result{nil, err}
			return
		}
		l, err := net.Listen("unix", path)
		done <- result{l, err}
	}()
	r := <-done
	if r.err != nil {
		tb.Fatal(r.err)
	}
	tb.Cleanup(func() { r.listener.Close() })
	return r.listener
}

// Folder returns a new folder with a short name that every user can search, below / and
// not below a folder that all users can write. It is removed when the test ends.
func Folder(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/run", "holdfast")
	if err != nil {
		tb.Skip(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		tb.Fatal(err)
	}
	return dir
}
