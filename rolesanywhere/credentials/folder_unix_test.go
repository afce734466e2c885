//go:build unix

package credentials

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/internal/fileowner"
)

// asRoot skips a test that must change the owner of a file, unless it runs as
// root.
func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

const otherUser = 12345 // user ID

func wantUnsafe(t *testing.T, err error) {
	t.Helper()
	var unsafe *UnsafeError
	if !errors.As(err, &unsafe) || unsafe.Hint() == "" || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v, want an UnsafeError with a hint", err)
	}
}

func TestFolderIsPrivate(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "new", "cache", "holdfast")
	f, err := MakeFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	key := Key("a")
	if err := f.Save(key, []byte("x"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	unlock, err := f.TryLock(key)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	for name, want := range map[string]fs.FileMode{
		"": 0o700 | fs.ModeDir, "..": 0o700 | fs.ModeDir, "../..": 0o700 | fs.ModeDir, key + ".json": 0o600, key + ".lock": 0o600,
	} {
		if info, err := os.Stat(filepath.Join(path, name)); err != nil || info.Mode() != want {
			t.Errorf("%q: %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
	files, _ := os.ReadDir(path)
	if len(files) != 2 {
		t.Errorf("%v", files)
	}
	again, err := MakeFolder(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// Root creates nothing below the folder of another user: that user could not
// use it.
func TestFolderOfAnotherUser(t *testing.T) {
	asRoot(t)
	for name, folder := range map[string]string{
		"the folder itself":           ".cache/holdfast",
		"the folder above":            ".cache",
		"the home folder":             ".",
		"a folder of root in between": ".",
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			if err := os.MkdirAll(filepath.Join(home, folder), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(filepath.Join(home, folder), otherUser, -1); err != nil {
				t.Fatal(err)
			}
			if name == "a folder of root in between" {
				if err := os.MkdirAll(filepath.Join(home, ".cache", "holdfast"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			before := countFiles(t, home)
			for _, open := range []func(string) (*Folder, error){MakeFolder, OpenFolder} {
				_, err := open(filepath.Join(home, ".cache", "holdfast"))
				var hint interface{ Hint() string }
				if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "sudo -H -u '#12345' holdfast") {
					t.Errorf("error %v, want ErrPermission with a hint about sudo", err)
				}
			}
			if after := countFiles(t, home); after != before {
				t.Errorf("%d files, want %d as before", after, before)
			}
		})
	}
}

func countFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { n++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFolderRefused(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string) error{
		"group may look":    func(_ *testing.T, path string) error { return os.Chmod(path, 0o750) },
		"group may search":  func(_ *testing.T, path string) error { return os.Chmod(path, 0o710) },
		"group may write":   func(_ *testing.T, path string) error { return os.Chmod(path, 0o720) },
		"others may look":   func(_ *testing.T, path string) error { return os.Chmod(path, 0o704) },
		"others may search": func(_ *testing.T, path string) error { return os.Chmod(path, 0o701) },
		"others may write":  func(_ *testing.T, path string) error { return os.Chmod(path, 0o777|fs.ModeSticky) },
		"link": func(_ *testing.T, path string) error {
			return errors.Join(os.Rename(path, path+".there"), os.Symlink(path+".there", path))
		},
		"dangling link": func(_ *testing.T, path string) error {
			return errors.Join(os.Remove(path), os.Symlink(path+".there", path))
		},
		"file": func(_ *testing.T, path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600))
		},
		"FIFO": func(_ *testing.T, path string) error {
			return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "holdfast")
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := spoil(t, path); err != nil {
				t.Fatal(err)
			}
			for _, open := range []func(string) (*Folder, error){MakeFolder, OpenFolder} {
				f, err := open(path)
				wantUnsafe(t, err)
				if f != nil {
					f.Close()
				}
			}
		})
	}
	if _, err := OpenFolder(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// spoiled holds changes that make a file unsafe.
var spoiled = map[string]func(t *testing.T, path string) error{
	"group may read":   func(_ *testing.T, path string) error { return os.Chmod(path, 0o640) },
	"group may write":  func(_ *testing.T, path string) error { return os.Chmod(path, 0o620) },
	"others may read":  func(_ *testing.T, path string) error { return os.Chmod(path, 0o604) },
	"others may write": func(_ *testing.T, path string) error { return os.Chmod(path, 0o602) },
	"another's": func(t *testing.T, path string) error {
		asRoot(t)
		return os.Chown(path, otherUser, -1)
	},
	"link outwards": func(_ *testing.T, path string) error {
		there := filepath.Join(filepath.Dir(filepath.Dir(path)), "there")
		return errors.Join(os.Rename(path, there), os.Symlink(there, path))
	},
	"link inwards": func(_ *testing.T, path string) error {
		return errors.Join(os.Rename(path, path+".there"), os.Symlink(filepath.Base(path)+".there", path))
	},
	"folder": func(_ *testing.T, path string) error {
		return errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "full"), 0o700))
	},
	"FIFO": func(_ *testing.T, path string) error {
		return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600))
	},
}

func TestFileRefused(t *testing.T) {
	for name, spoil := range spoiled {
		t.Run(name, func(t *testing.T) {
			f, key := newFolder(t), Key("a")
			for range 2 { // Save must be able to replace it
				if err := f.Save(key, []byte("x"), time.Time{}); err != nil {
					t.Fatal(err)
				}
				if data, err := f.Load(key); err != nil || string(data) != "x" {
					t.Fatalf("loaded %q, %v", data, err)
				}
				if err := spoil(t, filepath.Join(f.path, key+".json")); err != nil {
					t.Fatal(err)
				}
				data, err := f.Load(key)
				wantUnsafe(t, err)
				if data != nil {
					t.Errorf("loaded %q", data)
				}
			}
			if n, err := Clear(f); n != 1 || err != nil {
				t.Errorf("Clear: %d, %v", n, err)
			}
			if _, err := f.Load(key); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after Clear: %v", err)
			}
		})
	}
}

// If an entry cannot be saved, no temporary file remains.
func TestSaveFails(t *testing.T) {
	f, key := newFolder(t), Key("a")
	if err := f.Save(key, []byte("old"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	// A file size limit has the same effect as a full disk. The log of files that "go test"
	// writes for its cache is smaller.
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	err := f.Save(key, make([]byte, 2<<20), time.Time{})
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err == nil {
		t.Error("saved more than fits")
	}
	if data, err := f.Load(key); err != nil || string(data) != "old" {
		t.Errorf("loaded %q, %v; want the old data", data, err)
	}
	if files, _ := os.ReadDir(f.path); len(files) != 1 {
		t.Errorf("files: %v", files)
	}
}

func TestLock(t *testing.T) {
	f, key := newFolder(t), Key("a")
	unlock, err := f.TryLock(key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := OpenFolder(f.path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, from := range []*Folder{f, other} {
		if _, err := from.TryLock(key); !errors.Is(err, ErrLocked) {
			t.Errorf("locked twice: %v", err)
		}
	}
	again, err := other.TryLock(Key("b"))
	if err != nil {
		t.Fatal(err)
	}
	again()
	// Tidy removes the unlocked lock file and keeps the locked one.
	if _, err := Clear(other); err != nil {
		t.Error(err)
	}
	if err := other.Tidy(time.Now()); err != nil {
		t.Error(err)
	}
	if files, _ := os.ReadDir(f.path); len(files) != 1 || files[0].Name() != key+".lock" {
		t.Errorf("after Clear: %v", files)
	}
	if _, err := other.TryLock(key); !errors.Is(err, ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	unlock()
	unlock, err = other.TryLock(key)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

// A removed lock file excludes no one, so TryLock creates a new one.
func TestLockOfRemovedFile(t *testing.T) {
	f, key := newFolder(t), Key("a")
	unlock, err := f.TryLock(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(f.path, key+".lock")); err != nil {
		t.Fatal(err)
	}
	second, err := f.TryLock(key)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	if _, err := f.TryLock(key); !errors.Is(err, ErrLocked) {
		t.Errorf("the second lock does not hold: %v", err)
	}
	second()
}

// Only one goroutine holds the lock at a time, even while others call Tidy.
func TestLockExcludes(t *testing.T) {
	f, key := newFolder(t), Key("a")
	var holders, locked atomic.Int64
	var wg sync.WaitGroup
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		for range 4 {
			wg.Go(func() {
				for range 50 {
					unlock, err := f.TryLock(key)
					if err != nil {
						continue
					}
					if holders.Add(1) != 1 {
						t.Error("two goroutines hold the lock")
					}
					locked.Add(1)
					runtime.Gosched()
					holders.Add(-1)
					unlock()
				}
			})
		}
		wg.Go(func() {
			for range 50 {
				_ = f.Tidy(time.Now())
			}
		})
		wg.Wait()
	}
	if locked.Load() == 0 {
		t.Error("no goroutine got the lock")
	}
}

// TryLock replaces an unsafe lock file.
func TestLockFileRefused(t *testing.T) {
	for name, spoil := range spoiled {
		t.Run(name, func(t *testing.T) {
			f, key := newFolder(t), Key("a")
			path := filepath.Join(f.path, key+".lock")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := spoil(t, path); err != nil {
				t.Fatal(err)
			}
			unlock, err := f.TryLock(key)
			if err != nil {
				t.Fatal(err)
			}
			defer unlock()
			if _, err := f.TryLock(key); !errors.Is(err, ErrLocked) {
				t.Errorf("locked twice: %v", err)
			}
			if info, err := os.Lstat(path); err != nil || !info.Mode().IsRegular() || fileowner.Exposed(info) != "" {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		})
	}
}

func TestTidy(t *testing.T) {
	f, now := newFolder(t), time.Now()
	key, gone := Key("a"), Key("b")
	if err := f.Save(key, []byte("x"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{key, gone} {
		unlock, err := f.TryLock(k)
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
	for name, age := range map[string]time.Duration{key + ".old.tmp": 2 * time.Hour, key + ".new.tmp": 0, "of a person": 10 * time.Hour, "README.lock": 10 * time.Hour} {
		path := filepath.Join(f.path, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Tidy(now.Add(-time.Hour)); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]bool{
		key + ".json": true, key + ".lock": true, gone + ".lock": false,
		key + ".old.tmp": false, key + ".new.tmp": true, "of a person": true, "README.lock": true,
	} {
		if _, err := os.Stat(filepath.Join(f.path, name)); (err == nil) != want {
			t.Errorf("%s: %v, want it to exist: %t", strings.TrimPrefix(name, key), err, want)
		}
	}
}
