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
)

// A socket is a listening socket with a file.
type socket struct {
	path     string
	listener *net.UnixListener
	file     fs.FileInfo
}

// listen makes the socket at path, or if that is "", in the runtime folder. Only this
// user can connect. The file of an agent that was killed is replaced.
func listen(env func(string) string, path string) (*socket, error) {
	if path == "" {
		dir, err := daemon.RuntimeDir(env)
		if err != nil {
			return nil, signer.WithHint(fmt.Errorf("folder of the socket: %w", err), "name a file in a folder that only you can access with --socket FILE")
		}
		path = filepath.Join(dir, socketName)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("--socket: %w", err)
	}
	if n := max(len(path), len(temporary(path))); n > maxPath {
		return nil, signer.WithHint(front.Usagef("--socket: the name has %d bytes with its folder; at most %d are possible", n, maxPath), "choose a shorter name with --socket FILE")
	}
	if err := checkFolder(path); err != nil {
		return nil, fmt.Errorf("--socket %w", err)
	}
	if err := checkFile(path); err != nil {
		return nil, fmt.Errorf("--socket %s: %w", path, err)
	}
	s := &socket{path: path}
	if err := s.bind(); err != nil {
		return nil, fmt.Errorf("--socket %s: %w", path, err)
	}
	return s, nil
}

// checkFolder returns an error if other users could replace the file at path.
func checkFolder(path string) error {
	if err := fileowner.Check(path); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	uid, known := fileowner.UID(info)
	switch {
	case !info.IsDir():
		return front.Usagef("%s: not in a folder", path)
	case known && uid != os.Geteuid() && uid != 0:
		return signer.WithHint(fmt.Errorf("%s: the folder belongs to another user: %w", path, fs.ErrPermission), "choose a folder of yours with --socket FILE")
	case info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0:
		return signer.WithHint(fmt.Errorf("%s: other users can replace files in the folder: %w", path, fs.ErrPermission), "choose a folder that only you can write with --socket FILE")
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
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return signer.WithHint(fmt.Errorf("the file is not a socket: %w", fs.ErrExist), "choose another name with --socket FILE")
	}
	if uid, known := fileowner.UID(info); known && uid != os.Geteuid() {
		return signer.WithHint(fmt.Errorf("the socket belongs to another user: %w", fs.ErrExist), "choose another name with --socket FILE")
	}
	other, err := net.DialTimeout("unix", path, dialTimeout)
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, fs.ErrNotExist) {
		return nil // nobody listens; an agent with many clients fails in other ways
	}
	if err == nil {
		other.Close()
	}
	return signer.WithHint(fmt.Errorf("another agent listens there: %w", fs.ErrExist), "use that agent, end it, or choose another name with --socket FILE")
}

// bind makes the socket under another name first, so that the file at path always is
// one that only this user can connect to.
func (s *socket) bind() (err error) {
	first := temporary(s.path)
	if s.listener, err = net.ListenUnix("unix", &net.UnixAddr{Name: first, Net: "unix"}); err != nil {
		return err
	}
	s.listener.SetUnlinkOnClose(false)
	err = os.Chmod(first, 0o600)
	if err == nil {
		err = os.Rename(first, s.path)
	}
	if err == nil {
		s.file, err = os.Lstat(s.path)
	}
	if err != nil {
		_ = os.Remove(first) // it may have its final name
		s.listener.Close()
	}
	return err
}

// temporary returns a new name in the folder of path, as long as that of the default.
func temporary(path string) string {
	return filepath.Join(filepath.Dir(path), "."+rand.Text()[:len(socketName)-1])
}

// close removes the socket, unless another agent has replaced it.
func (s *socket) close() {
	s.listener.Close()
	if info, err := os.Lstat(s.path); err == nil && os.SameFile(info, s.file) {
		_ = os.Remove(s.path) // the next agent replaces it
	}
}
