package atomicfile

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The test needs permission to mount a small tmpfs.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		signertest.Skip(t, "tmpfs", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "to")
	writeFile(t, path, "old")
	for method, write := range writers {
		if err := write(File{Name: path}, make([]byte, 100<<10)); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: error %v, want ENOSPC", method, err)
		}
		wantFile(t, path, "old")
	}
	if err := (File{Name: path}).Replace(bytes.Repeat([]byte("x"), 40<<10)); err != nil {
		t.Errorf("data that fits: %v", err)
	}
}

// A file size limit has the same effect as a full disk and needs no permission. The log of
// files that "go test" writes for its cache is smaller than this one.
func TestFileSizeLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "to")
	writeFile(t, path, "old")
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	errs := make(map[string]error)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	for method, write := range writers {
		errs[method] = write(File{Name: path}, make([]byte, 2<<20))
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	for method, err := range errs {
		if !errors.Is(err, unix.EFBIG) {
			t.Errorf("%s: error %v, want EFBIG", method, err)
		}
	}
	wantFile(t, path, "old")
}

func TestReadOnlyFolder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "to")
	writeFile(t, path, "old")
	for name, mode := range map[string]fs.FileMode{dir: 0o555, filepath.Dir(dir): 0o755, path: 0o644} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
	if os.Geteuid() == 0 { // root ignores permissions, so use the ID of nobody
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setfsuid(0) }()
	}
	for _, f := range []File{{Name: path}, {FS: openRoot(t, dir), Name: "to"}} {
		for method, write := range writers {
			if err := write(f, []byte("new")); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("%s: error %v, want ErrPermission", method, err)
			}
		}
		if err := f.SyncFolder(); err != nil {
			t.Error(err)
		}
	}
	wantFile(t, path, "old")
}
