package filelock

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestMain lets this test binary also be the other process that holds the lock.
func TestMain(m *testing.M) {
	if name := os.Getenv("FILELOCK_HOLD"); name != "" {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err == nil {
			_, err = fmt.Println(TryLock(f))
		}
		if err != nil {
			fmt.Println(err)
		}
		_, _ = io.Copy(io.Discard, os.Stdin) // until it is killed
	}
	os.Exit(m.Run())
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func wantHeld(t *testing.T, f *os.File, want bool) {
	t.Helper()
	if held, err := TryLock(f); held != want || err != nil {
		t.Errorf("held %t, %v; want %t", held, err, want)
	}
}

func TestTryLock(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "lock")
	one, two, other := open(t, name), open(t, name), open(t, filepath.Join(dir, "other"))
	wantHeld(t, one, true)
	wantHeld(t, two, false)
	wantHeld(t, other, true)
	one.Close()
	wantHeld(t, two, true)
	if held, err := TryLock(one); held || err == nil {
		t.Errorf("a closed file: held %t, %v", held, err)
	}
}

// The lock of another process excludes this one until the other is killed.
func TestTryLockOfProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, filepath.Join(t.TempDir(), "lock"))
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "FILELOCK_HOLD="+f.Name())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "true <nil>\n" {
		t.Errorf("the other process did not lock the file: %q, %v", line, err)
	}
	wantHeld(t, f, false)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	wantHeld(t, f, true)
}
