package journal

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets this test binary also be the process that is killed, or whose system
// calls fail.
func TestMain(m *testing.M) {
	for variable, run := range map[string]func(folder string) error{"JOURNAL_FOREVER": appendForever, "JOURNAL_SOME": appendSome} {
		if folder := os.Getenv(variable); folder != "" {
			if err := run(folder); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	os.Exit(m.Run())
}

// appendForever writes a number and its double in each commit, and prints the number
// when the commit is acknowledged. It compacts the file all the time.
func appendForever(folder string) error {
	j, tables, err := Open(folder)
	if err != nil {
		return err
	}
	var n int
	if value, ok := tables["a"]["n"]; ok {
		if err := json.Unmarshal(value, &n); err != nil {
			return err
		}
	}
	for n++; ; n++ {
		rows := []Row{put("a", "n", fmt.Sprint(n)), put("a", "double", fmt.Sprint(2*n)), put("b", fmt.Sprint(n%100), `"`+strings.Repeat("x", 1000)+`"`)}
		if err := j.Append(rows); err != nil {
			return err
		}
		tables.apply(rows)
		fmt.Println(n)
		j.next = 0
		if err := j.Compact(all(tables)); err != nil {
			return err
		}
	}
}

// A process that is killed at any moment loses nothing that it acknowledged, and leaves
// no half of a commit.
func TestKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := newFolder(t)
	last := 0
	for range 30 {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), "JOURNAL_FOREVER="+folder)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		started := last
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
				t.Fatal(lines.Text())
			}
			if started >= 0 {
				started = -1
				// The moment is random and needs no precision.
				time.AfterFunc(rand.N(20*time.Millisecond), func() { _ = cmd.Process.Kill() })
			}
		}
		_ = cmd.Wait() // killed
		j, tables := open(t, folder)
		var n, double int
		if err := errors.Join(json.Unmarshal(tables["a"]["n"], &n), json.Unmarshal(tables["a"]["double"], &double)); err != nil {
			t.Fatal(err)
		}
		if n < last || n > last+1 || double != 2*n {
			t.Fatalf("the numbers are %d and %d; %d was acknowledged", n, double, last)
		}
		last = n
		closeJournal(t, j)
	}
}

// Files that are not regular are refused, and not waited for.
func TestNotRegular(t *testing.T) {
	target := filepath.Join(t.TempDir(), "target")
	if err := os.WriteFile(target, []byte(header), 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, create := range map[string]func(path string) error{
		"FIFO":          func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link":          func(path string) error { return os.Symlink(target, path) },
		"dangling link": func(path string) error { return os.Symlink(target+"2", path) },
		"folder":        func(path string) error { return os.Mkdir(path, 0o700) },
		"device":        func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		for _, name := range []string{fileName, lockName} {
			folder := newFolder(t)
			path := filepath.Join(folder, name)
			if err := create(path); err != nil {
				t.Fatal(err)
			}
			if j, _, err := Open(folder); err == nil {
				closeJournal(t, j)
				t.Errorf("%s %s: no error", kind, name)
			} else if !strings.Contains(err.Error(), path+": not a regular file") {
				t.Errorf("%s %s: error is %v", kind, name, err)
			}
		}
	}
	if _, err := os.Stat(target + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the target of the link: %v", err)
	}
}

// A folder or a file that others could have read or written is refused, and stays as it is.
func TestExposed(t *testing.T) {
	const otherUser = 12345
	asRoot := func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("needs root")
		}
	}
	for _, tt := range []struct {
		name, file string // file: in the folder; empty: the folder
		spoil      func(t *testing.T, path string) error
		want       string
	}{
		{"readable", "", func(_ *testing.T, path string) error { return os.Chmod(path, 0o755) }, "is accessible to other users (mode 0755)"},
		{"group may search", "", func(_ *testing.T, path string) error { return os.Chmod(path, 0o710) }, "(mode 0710)"},
		{"writable", "", func(_ *testing.T, path string) error { return os.Chmod(path, 0o777|fs.ModeSticky) }, "(mode 0777)"},
		{"another's", "", func(t *testing.T, path string) error { asRoot(t); return os.Chown(path, otherUser, -1) }, "belongs to another user (UID 12345)"},
		{"link", "", func(_ *testing.T, path string) error {
			return errors.Join(os.Rename(path, path+".there"), os.Symlink(path+".there", path))
		}, "is a symbolic link"},
		{"readable file", fileName, func(_ *testing.T, path string) error { return os.Chmod(path, 0o604) }, "(mode 0604)"},
		{"writable file", fileName, func(_ *testing.T, path string) error { return os.Chmod(path, 0o620) }, "(mode 0620)"},
		{"another's file", fileName, func(t *testing.T, path string) error { asRoot(t); return os.Chown(path, otherUser, -1) }, "(UID 12345)"},
		{"readable lock", lockName, func(_ *testing.T, path string) error { return os.Chmod(path, 0o644) }, "(mode 0644)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			folder := newFolder(t)
			j, _ := open(t, folder)
			closeJournal(t, j)
			path := filepath.Join(folder, tt.file)
			if err := tt.spoil(t, path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{folder, folder + "/"} {
				j, _, err := Open(name)
				if err == nil {
					closeJournal(t, j)
				}
				if hint := hintOf(err); err == nil || !strings.Contains(err.Error(), folder) || !strings.Contains(err.Error(), tt.want) || hint == "" {
					t.Errorf("error is %v, hint %q", err, hint)
				}
			}
			if after, err := os.Stat(path); err != nil || after.Mode() != before.Mode() {
				t.Errorf("%v, %v", after, err)
			}
		})
	}
	folder := newFolder(t)
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(folder); !strings.Contains(hintOf(err), "chmod 700 "+folder) {
		t.Errorf("error is %v, hint %q", err, hintOf(err))
	}
}

func TestModes(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "a", "b")
	j, _ := open(t, folder)
	closeJournal(t, j)
	for path, want := range map[string]fs.FileMode{folder: 0o700 | fs.ModeDir, j.Path(): 0o600, filepath.Join(folder, lockName): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v, want mode %v", path, info.Mode(), err, want)
		}
	}
}
