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

func TestListen(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "run")
	if err := os.Mkdir(base, 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := listen(func(name string) string { return map[string]string{"XDG_RUNTIME_DIR": base}[name] }, "")
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
	if _, err := listen(noEnv, s.path); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "another agent listens there") || signer.Hint(err) == "" {
		t.Errorf("second agent: %v", err)
	}
	// A killed agent leaves its file.
	s.listener.Close()
	next, err := listen(noEnv, s.path)
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
		{in("open/s"), "other users can replace files in the folder"},
		{in(strings.Repeat("x", maxPath)), "at most 103"},
		{in("sticky/s"), ""},
	} {
		s, err := listen(noEnv, c.path)
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
