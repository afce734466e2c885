package sshagent

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/daemon"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	socketName = "ssh-agent.sock"

	// maxPath is the length of the longest name of a socket on all systems, in bytes
	// (sun_path has 104 bytes on macOS, with the zero at the end).
	maxPath = 103

	// dialTimeout is how long another agent has to accept a connection.
	dialTimeout = time.Second

	// lockSuffix makes the name of the file that an agent locks while it lives.
	lockSuffix = ".lock"

	// lockTries is how often a lock is tried whose file others remove.
	lockTries = 10
)

// A socket is a socket with a file. No other agent takes its name until it is closed.
type socket struct {
	path     string
	lock     *os.File
	listener *net.UnixListener // nil: not bound yet
	file     fs.FileInfo
}

// reserve returns the socket at path, or if that is "", in the runtime folder: under the
// name that shells know, or, if alone, under one that no other agent has. It fails if another
// agent has it, also one that has not bound it yet. The file of an agent that was killed is
// replaced.
func reserve(env func(string) string, path string, alone bool) (*socket, error) {
	if path == "" {
		dir, err := daemon.RuntimeDir(env)
		if err != nil {
			return nil, signer.WithHint(fmt.Errorf("folder of the socket: %w", err), "name a file in a folder that only you can access with --socket FILE")
		}
		path = filepath.Join(dir, socketName)
		if alone {
			path = filepath.Join(dir, "ssh-agent-"+rand.Text()[:8]+".sock")
		}
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("--socket: %w", err)
	}
	if n := max(len(path), len(temporary(path))); n > maxPath {
		return nil, signer.WithHint(front.Usagef("--socket: the name has %d bytes with its folder; at most %d are possible", n, maxPath), "choose a shorter name with --socket FILE")
	}
	if err := checkFolder(path); err != nil {
		return nil, err
	}
	s := &socket{path: path}
	if s.lock, err = lock(path + lockSuffix); err != nil {
		return nil, fmt.Errorf("--socket %s: %w", path, err)
	}
	if err := checkFile(path); err != nil {
		s.close()
		return nil, fmt.Errorf("--socket %s: %w", path, err)
	}
	return s, nil
}

// lock locks a file for the life of an agent. It creates the file.
func lock(name string) (*os.File, error) {
	for range lockTries {
		f, err := openLock(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the agent before has removed it
		}
		if err != nil {
			return nil, err
		}
		held, err := filelock.TryLock(f)
		if err == nil && !held {
			err = errBusy()
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if isCurrent(f, name) {
			return f, nil
		}
		f.Close()
	}
	return nil, errBusy()
}

// openLock opens a file, or creates it. It follows no symbolic link to create one.
func openLock(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	info, err := os.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", filepath.Base(name))
	}
	if err != nil {
		return nil, err
	}
	return os.OpenFile(name, os.O_RDWR, 0)
}

// isCurrent reports whether name is that of an open file.
func isCurrent(f *os.File, name string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(name)
	return err == nil && os.SameFile(a, b)
}

func errBusy() error {
	return signer.WithHint(fmt.Errorf("another agent listens there: %w", fs.ErrExist), "use that agent, end it, or choose another name with --socket FILE")
}

// cause returns err without the names of files and calls that packages net and os add.
func cause(err error) error {
	var number syscall.Errno
	if errors.As(err, &number) {
		return number
	}
	return err
}

// checkFolder returns an error if other users could replace the file at path, or a
// folder above it.
func checkFolder(path string) error {
	if err := fileowner.Check(path); err != nil {
		return fmt.Errorf("--socket %w", err)
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("--socket %s: folder: %w", path, cause(err))
	}
	if !info.IsDir() {
		return front.Usagef("--socket %s: not in a folder", path)
	}
	if err := fileowner.CheckFolders(path); err != nil {
		return signer.WithHint(fmt.Errorf("--socket %s: other users can lead clients elsewhere: %w", path, err), "choose a folder that only you and root can change, also above it, with --socket FILE")
	}
	return nil
}

// checkFile returns an error unless there is no file at path, or only the socket of a
// process that is gone.
func checkFile(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return cause(err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return signer.WithHint(errors.New("the file is not a socket"), "choose another name with --socket FILE")
	}
	if uid, known := fileowner.UID(info); known && uid != os.Geteuid() {
		return signer.WithHint(errors.New("the socket belongs to another user"), "choose another name with --socket FILE")
	}
	other, err := net.DialTimeout("unix", path, dialTimeout)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil // nobody listens; an agent with many clients fails in other ways
	}
	if err == nil {
		other.Close()
	}
	return errBusy()
}

// bind listens on the socket, which only this user can connect to. It makes the socket
// under another name first, so that the file at path always is such a one.
func (s *socket) bind() (err error) {
	// Others than agents of Holdfast do not know of the lock.
	if err := checkFile(s.path); err != nil {
		return fmt.Errorf("--socket %s: %w", s.path, err)
	}
	first := temporary(s.path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: first, Net: "unix"})
	if err != nil {
		return fmt.Errorf("--socket %s: %w", s.path, err)
	}
	l.SetUnlinkOnClose(false)
	err = os.Chmod(first, 0o600)
	if err == nil {
		err = os.Rename(first, s.path)
	}
	if err == nil {
		s.file, err = os.Lstat(s.path)
	}
	if err != nil {
		_ = os.Remove(first) // it may have its final name
		l.Close()
		return fmt.Errorf("--socket %s: %w", s.path, err)
	}
	s.listener = l
	return nil
}

// temporary returns a new name in the folder of path, as long as that of the default.
func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), "."+rand.Text()[:len(socketName)-1])
}

// close removes the socket, unless another agent has replaced it.
func (s *socket) close() {
	if s.listener != nil {
		s.listener.Close()
		if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.file) {
			_ = os.Remove(s.path) // the next agent replaces it
		}
	}
	if isCurrent(s.lock, s.lock.Name()) {
		_ = os.Remove(s.lock.Name()) // the next agent can use it, too
	}
	s.lock.Close()
}
