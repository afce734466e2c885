package sharedfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/internal/filelock"
)

func TestWriteRefusesFIFO(t *testing.T) {
	for _, name := range []string{"credentials", "credentials.holdfast.lock"} {
		dir := t.TempDir()
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		err := (File{Path: filepath.Join(dir, "credentials"), Profile: "p"}).Write(t.Context(), fresh)
		if !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error %v, want ErrFormat", name, err)
		}
	}
}

// Write does not follow a symbolic link in place of the lock file or the
// temporary file. If root writes the file of a user, that user could have
// created the link.
func TestWriteDoesNotFollowOtherLinks(t *testing.T) {
	for _, suffix := range []string{".lock", ".tmp"} {
		dir := t.TempDir()
		path, trap := filepath.Join(dir, "credentials"), filepath.Join(dir, "trap")
		writeFile(t, trap, "")
		if err := os.Symlink(trap, path+".holdfast"+suffix); err != nil {
			t.Fatal(err)
		}
		err := (File{Path: path, Profile: "p"}).Write(t.Context(), fresh)
		if isLock := suffix == ".lock"; (err != nil) != isLock || isLock && !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: error %v, want ELOOP: %t", suffix, err, isLock)
		}
		if info, err := os.Stat(trap); err != nil || info.Size() != 0 {
			t.Errorf("%s: the link was followed: %v, %v", suffix, info, err)
		}
	}
}

// asNobody runs f with the file permissions of an unprivileged user.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Getuid() != 0 {
		f()
		return
	}
	done := make(chan error)
	go func() {
		// The thread ends with the goroutine, and its identity with it.
		runtime.LockOSThread()
		var err error
		defer func() { done <- err }()
		if err = unix.Setfsgid(65534); err == nil {
			err = unix.Setfsuid(65534)
		}
		if err == nil {
			f()
		}
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestWriteReadOnlyFolder(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "readonly")
	path := filepath.Join(dir, "credentials")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, "[p]\n"+old)
	for _, name := range []string{root, filepath.Dir(root), dir} {
		if err := os.Chmod(name, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, name := range []string{root, filepath.Dir(root), dir} {
			if err := os.Chmod(name, 0o755); err != nil {
				t.Error(err)
			}
		}
	})
	asNobody(t, func() {
		if err := (File{Path: path, Profile: "p"}).Write(t.Context(), fresh); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("error %v, want ErrPermission", err)
		}
		if err := (File{Path: filepath.Join(dir, ".aws", "credentials"), Profile: "p"}).Write(t.Context(), fresh); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("folder missing: error %v, want ErrPermission", err)
		}
	})
	wantFile(t, path, "[p]\n"+old)
}

func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return stat.Uid, stat.Gid
}

// Root creates nothing below a folder of another user, not even through a link
// to a file that does not exist yet.
func TestWriteBelowFolderOfAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can create folders of another user")
	}
	for name, path := range map[string]string{
		"no folder":         "home/.aws/credentials",
		"a folder":          "home/own/credentials",
		"a folder of root":  "home/root/credentials",
		"an existing file":  "home/own/existing",
		"a link to a file":  "link",
		"a dangling link":   "dangling",
		"a link to a home":  "homelink/.aws/credentials",
		"a link from there": "home/back/credentials",
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			for _, dir := range []string{"home/own", "home/root", "srv"} {
				if err := os.MkdirAll(filepath.Join(top, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			writeFile(t, filepath.Join(top, "home/own/existing"), "[p]\n"+old)
			for link, target := range map[string]string{
				"link": "home/own/existing", "dangling": "home/own/new", "homelink": "home", "home/back": "../srv",
			} {
				if err := os.Symlink(target, filepath.Join(top, link)); err != nil {
					t.Fatal(err)
				}
			}
			for _, theirs := range []string{"home", "home/own", "home/own/existing"} {
				if err := os.Chown(filepath.Join(top, theirs), 4242, 4242); err != nil {
					t.Fatal(err)
				}
			}
			before := tree(t, top)
			f := File{Path: filepath.Join(top, path), Profile: "p"}
			for what, err := range map[string]error{"Write": f.Write(t.Context(), fresh), "Probe": f.Probe()} {
				var hint interface{ Hint() string }
				if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "sudo -H -u '#4242' holdfast") {
					t.Errorf("%s: error %v, want ErrPermission with a hint about sudo", what, err)
				}
			}
			if after := tree(t, top); after != before {
				t.Errorf("files after:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func tree(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

// If root writes the file of a user, the file and the lock file belong to the
// user.
func TestWriteKeepsOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can create files of another user")
	}
	path := filepath.Join(t.TempDir(), "credentials")
	writeFile(t, path, "[p]\n"+old)
	if err := errors.Join(os.Chown(path, 4242, 4343), os.Chmod(path, 0o640)); err != nil {
		t.Fatal(err)
	}
	if err := (File{Path: path, Profile: "p"}).Write(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	wantFile(t, path, "[p]\n"+block)
	for _, name := range []string{path, path + ".holdfast.lock"} {
		wantMode(t, name, 0o640)
		if uid, gid := owner(t, name); uid != 4242 || gid != 4343 {
			t.Errorf("owner of %s is %d:%d", name, uid, gid)
		}
	}
}

// A user who cannot set the owner of the new file changes nothing and leaves no
// file in the folder.
func TestWriteForeignFile(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can create files of another user")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "credentials")
	writeFile(t, path, "[p]\n"+old)
	for name, mode := range map[string]fs.FileMode{filepath.Dir(dir): 0o755, dir: 0o777, path: 0o666} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	asNobody(t, func() {
		if err := (File{Path: path, Profile: "p"}).Write(t.Context(), fresh); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("error %v, want ErrPermission", err)
		}
	})
	wantFile(t, path, "[p]\n"+old)
	if _, err := os.Stat(path + ".holdfast.lock"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("lock file: %v", err)
	}
	// If the lock file exists, creating the new file fails.
	writeFile(t, path+".holdfast.lock", "")
	if err := os.Chmod(path+".holdfast.lock", 0o666); err != nil {
		t.Fatal(err)
	}
	asNobody(t, func() {
		if err := (File{Path: path, Profile: "p"}).Write(t.Context(), fresh); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("error %v, want ErrPermission", err)
		}
	})
	wantFile(t, path, "[p]\n"+old)
}

// The test needs permission to mount a small tmpfs.
func TestTmpfsFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	path := filepath.Join(dir, "credentials")
	var numbers [8]int
	writeFile(t, path, chaosFile(numbers))
	err := (File{Path: path, Profile: "p1"}).Write(t.Context(), numbered(7))
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v, want ENOSPC", err)
	}
	wantFile(t, path, chaosFile(numbers))
}

// The lock can be acquired even without permission to write the lock file.
func TestLockOfAnother(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "credentials")
	name := path + ".holdfast.lock"
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.WriteFile(name, nil, 0o600), os.Chmod(name, 0o444)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // root ignores permissions, so use the ID of nobody
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setfsuid(0) }()
	}
	f, err := openLock(name, path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(nil); !errors.Is(err, unix.EBADF) {
		t.Errorf("the lock file is open for writing: %v", err)
	}
	if held, err := filelock.TryLock(f); !held || err != nil {
		t.Errorf("held: %t, %v", held, err)
	}
}
