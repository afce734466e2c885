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
	folder := t.TempDir()
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
			folder := t.TempDir()
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
