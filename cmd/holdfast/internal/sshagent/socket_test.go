//go:build unix

package sshagent

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

func noEnv(string) string { return "" }

// listen reserves a socket and binds it.
func listen(env func(string) string, path string, alone bool) (*socket, error) {
	s, err := reserve(env, path, alone)
	if err != nil {
		return nil, err
	}
	if err := s.bind(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "run")
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := listen(func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": base}[name] }, "", false)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(base, "holdfast", "ssh-agent.sock"); s.path != want {
		t.Errorf("path %s, want %s", s.path, want)
	}
	for path, want := range map[string]fs.FileMode{filepath.Dir(s.path): fs.ModeDir | 0o700, s.path: fs.ModeSocket | 0o600} {
		if info, err := os.Lstat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", path, err, info.Mode())
		}
	}
	if _, err := listen(noEnv, s.path, false); err == nil || !strings.Contains(err.Error(), "another agent listens there") || signer.Hint(err) == "" {
		t.Errorf("second agent: %v", err)
	}
	// A killed agent leaves its file.
	s.listener.Close()
	s.lock.Close()
	next, err := listen(noEnv, s.path, false)
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	if _, err := os.Lstat(next.path); err != nil {
		t.Errorf("the first agent removed the socket of the next one: %v", err)
	}
	next.close()
	if files, err := os.ReadDir(filepath.Dir(next.path)); err != nil || len(files) != 0 {
		t.Errorf("left: %v, %v", files, err)
	}
}

// TestListenAtOnce: of agents that start at once, one gets the socket, also the one that
// an agent which was killed has left.
func TestListenAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	left, err := listen(noEnv, path, false)
	if err != nil {
		t.Fatal(err)
	}
	left.listener.Close()
	left.lock.Close()
	type result struct {
		*socket
		error
	}
	results := make(chan result)
	const agents = 20
	for range agents {
		go func() {
			s, err := listen(noEnv, path, false)
			results <- result{s, err}
		}()
	}
	var winners []*socket
	for range agents {
		switch r := <-results; {
		case r.error == nil:
			winners = append(winners, r.socket)
		case !strings.Contains(r.Error(), "another agent listens there"):
			t.Error(r.error)
		}
	}
	if len(winners) != 1 {
		t.Fatalf("%d agents listen", len(winners))
	}
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	winners[0].close()
}

// TestReserve: an agent whose keys are not open yet has the name, but no client can
// connect.
func TestReserve(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	s, err := reserve(noEnv, path, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is there: %v", err)
	}
	if _, err := reserve(noEnv, path, false); err == nil || !strings.Contains(err.Error(), "another agent listens there") {
		t.Errorf("second agent: %v", err)
	}
	other, err := net.Listen("unix", path) // that of OpenSSH does not know of the lock
	if err != nil {
		t.Fatal(err)
	}
	if err := s.bind(); err == nil || !strings.Contains(err.Error(), "another agent listens there") {
		t.Errorf("in place of another agent: %v", err)
	}
	s.close()
	other.Close()
	for name, target := range map[string]string{"a": filepath.Join(dir, "new"), "b": filepath.Join(dir, "file")} {
		if err := errors.Join(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600), os.Symlink(target, filepath.Join(dir, name+lockSuffix))); err != nil {
			t.Fatal(err)
		}
		if _, err := reserve(noEnv, filepath.Join(dir, name), false); err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("a symbolic link as lock: %v", err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was created: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(in("file"), []byte("x"), 0o600))
	must(os.Symlink(in("file"), in("link")))
	must(os.Mkdir(in("open"), 0o700))
	must(os.Mkdir(in("open/mine"), 0o700))
	must(os.Symlink(in("open/mine"), in("way")))
	must(os.Chmod(in("open"), 0o777))
	must(os.Mkdir(in("sticky"), 0o700))
	must(os.Chmod(in("sticky"), 0o777|fs.ModeSticky))
	other, err := net.Listen("unix", in("busy"))
	must(err)
	defer other.Close()
	for _, c := range []struct{ path, want string }{
		{in("file"), "not a socket"},
		{in("link"), "not a socket"},
		{dir, "not a socket"},
		{in("busy"), "another agent listens there"},
		{in("none/s"), "no such file"},
		{in("file/s"), "not in a folder"},
		{in("open/s"), "other users can lead clients elsewhere: the folder "},
		{in("open/mine/s"), "open can be written by other users (mode 0777)"},
		{in("way/s"), "open can be written by other users (mode 0777)"},
		{in(strings.Repeat("x", maxPath)), "at most 103"},
		{in("sticky/s"), ""},
	} {
		s, err := listen(noEnv, c.path, true)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.path, err, c.want)
		}
		if err == nil {
			s.close()
		}
	}
	if data, err := os.ReadFile(in("file")); err != nil || string(data) != "x" {
		t.Errorf("the file was changed: %q, %v", data, err)
	}
}
