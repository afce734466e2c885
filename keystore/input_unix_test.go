//go:build unix

package keystore_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestReadDoesNotBlock(t *testing.T) {
	dir, err := os.MkdirTemp("", "") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	fifo, socket, link := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket"), filepath.Join(dir, "link")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	refuse := func(name, path string) {
		t.Helper()
		promptly(t, func() {
			data, err := keystore.Call{}.Read(t.Context(), fileRef(path))
			if err == nil {
				t.Errorf("%s: read %d bytes", name, len(data))
			}
			if path == fifo && signer.Hint(err) == "" {
				t.Errorf("%s: error %v has no hint", name, err)
			}
		})
	}
	refuse("FIFO", fifo)
	refuse("symbolic link to a FIFO", link)
	refuse("socket", socket)
	refuse("/dev/zero", "/dev/zero")
	refuse("/dev/null", "/dev/null")
	refuse("terminal", "/dev/tty")

	writer, err := os.OpenFile(fifo, os.O_RDWR, 0) // does not wait for a reader
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	refuse("FIFO whose writer does not write", fifo)
}

func TestReadRefusesBySize(t *testing.T) {
	path := write(t, nil, 0o600)
	if err := os.Truncate(path, 3<<30); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := keystore.Call{}.Read(t.Context(), fileRef(path))
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("read 3 GiB")
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("allocated %d bytes to refuse a file by its size", n)
	}
}

// A file can grow after its size was checked.
func TestReadGrowingFile(t *testing.T) {
	path := write(t, nil, 0o600)
	if err := os.Truncate(path, keystore.MaxInput-1<<20); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for range 2 << 20 / 512 {
			if _, err := f.Write(make([]byte, 512)); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for {
		data, err := keystore.Call{}.Read(t.Context(), fileRef(path))
		if len(data) > keystore.MaxInput {
			t.Fatalf("read %d bytes", len(data))
		}
		if err != nil {
			break
		}
	}
	<-done
}

func TestReadUnreadable(t *testing.T) {
	dir, err := os.MkdirTemp("", "") // other users have no access to t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	closed, open := filepath.Join(dir, "closed"), filepath.Join(dir, "open")
	for path, mode := range map[string]os.FileMode{dir: 0o755, closed: 0, open: 0o644} {
		if path != dir {
			if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() == 0 { // root may read everything
		if err := syscall.Seteuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := syscall.Seteuid(0); err != nil {
				panic(err) // no other test can run
			}
		}()
	}
	if _, err := (keystore.Call{}).Read(t.Context(), fileRef(open)); err != nil {
		t.Errorf("readable file: %v", err)
	}
	if _, err := (keystore.Call{}).Read(t.Context(), fileRef(closed)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("unreadable file: error %v, want %v", err, fs.ErrPermission)
	}
}

func TestPINSourceDoesNotBlock(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, "/dev/zero"} {
		promptly(t, func() {
			pinFunc, err := pinSource(path, keystore.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			if pin, err := pinFunc(t.Context(), keystore.Prompt{What: "PIN"}); err == nil {
				t.Errorf("%s: got %q", path, pin)
			}
		})
	}
}
