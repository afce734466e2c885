package credentials

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/filelock"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
)

// A Folder is a [Storage] of files. It also has locks for processes that obtain
// credentials. Only the user has access to the folder (mode 0700) and its files
// (mode 0600). On Windows the folder inherits its permissions.
type Folder struct {
	root *os.Root
	path string
}

// ErrLocked is the error of [Folder.TryLock] while the lock is held elsewhere.
var ErrLocked = errors.New("locked by another process")

// Suffixes of file names. The names begin with the key.
const (
	entrySuffix = ".json"
	lockSuffix  = ".lock"
	tempSuffix  = ".tmp"
)

// maxFiles is the maximum number of files read from a folder.
const maxFiles = 4096

// MakeFolder is [OpenFolder], but creates the folder if it does not exist. For
// root, it creates nothing below a folder of another user.
func MakeFolder(path string) (*Folder, error) {
	if err := fileowner.Check(path); err != nil {
		return nil, fmt.Errorf("cache folder %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cache folder: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cache folder: %w", err)
	}
	return OpenFolder(path)
}

// OpenFolder opens a folder. The caller closes it. It fails with an
// [*UnsafeError] if path is a symbolic link, if the folder belongs to another
// user, or if other users have access to it. For root, it fails with another
// error that wraps [fs.ErrPermission] if path is below a folder of another user.
func OpenFolder(path string) (*Folder, error) {
	if err := fileowner.Check(path); err != nil {
		return nil, fmt.Errorf("cache folder %w", err)
	}
	before, err := os.Lstat(path)
	if err != nil {
		return nil, fmt.Errorf("cache folder: %w", err)
	}
	if !before.IsDir() {
		return nil, unsafeFolder(path, "is not a folder, or is a symbolic link")
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("cache folder: %w", err)
	}
	info, err := root.Stat(".")
	switch {
	case err != nil:
	case !os.SameFile(before, info):
		err = unsafeFolder(path, "was replaced while it was being opened")
	default:
		if why := fileowner.Exposed(info); why != "" {
			err = unsafeFolder(path, why)
		}
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &Folder{root, path}, nil
}

func unsafeFolder(path, why string) error {
	return fmt.Errorf("cache folder %w", &UnsafeError{path, why,
		"make the folder accessible to you only (chmod 700), remove it, or set XDG_CACHE_HOME to another folder"})
}

// Close closes the folder and keeps its files.
func (f *Folder) Close() error { return f.root.Close() }

// name returns the name of a file of key. It panics if key is not a result of
// [Key].
func name(key, suffix string) string {
	if !isKey(key) {
		panic(fmt.Sprintf("credentials: %q is not a result of Key", key))
	}
	return key + suffix
}

// Load implements [Storage].
func (f *Folder) Load(key string) ([]byte, error) {
	name := name(key, entrySuffix)
	before, err := f.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	unsafe := func(why string) ([]byte, error) {
		return nil, &UnsafeError{filepath.Join(f.path, name), why, "remove it"}
	}
	if !before.Mode().IsRegular() {
		return unsafe("is not a regular file")
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if why := fileowner.Exposed(info); why != "" {
		return unsafe(why)
	}
	return io.ReadAll(io.LimitReader(file, maxEntry+1))
}

// Save implements [Storage]. It replaces the file atomically, so that readers
// never see partial data, even after a crash.
func (f *Folder) Save(key string, data []byte, _ time.Time) error {
	name := name(key, entrySuffix)
	if info, err := f.root.Lstat(name); err == nil && info.IsDir() {
		if err := f.root.RemoveAll(name); err != nil { // a folder is not a valid entry
			return err
		}
	}
	return atomicfile.File{FS: f.root, Name: name, Temporary: key + ".*" + tempSuffix}.Replace(data)
}

// Remove implements [Storage].
func (f *Folder) Remove(key string) error { return f.root.RemoveAll(name(key, entrySuffix)) }

// Keys implements [Storage].
func (f *Folder) Keys() ([]string, error) {
	files, err := f.files(entrySuffix)
	for i := range files {
		files[i] = strings.TrimSuffix(files[i], entrySuffix)
	}
	return files, err
}

// files returns the names of all files of keys that end in suffix.
func (f *Folder) files(suffix string) ([]string, error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(maxFiles)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	var names []string
	for _, e := range entries {
		key, _, _ := strings.Cut(e.Name(), ".")
		if isKey(key) && strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// TryLock locks a key, or fails with [ErrLocked]. The caller calls unlock. The
// lock of a process ends with the process.
func (f *Folder) TryLock(key string) (unlock func(), err error) {
	name := name(key, lockSuffix)
	for range 3 {
		if info, err := f.root.Lstat(name); err == nil && (!info.Mode().IsRegular() || fileowner.Exposed(info) != "") {
			if err := f.root.RemoveAll(name); err != nil { // not a valid lock file
				return nil, err
			}
		}
		file, err := f.root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if held, err := filelock.TryLock(file); !held {
			return nil, errors.Join(cmp.Or(err, ErrLocked), file.Close())
		}
		opened, openedErr := file.Stat()
		named, namedErr := f.root.Lstat(name)
		if openedErr == nil && namedErr == nil && os.SameFile(opened, named) {
			return func() { file.Close() }, nil
		}
		file.Close()
	}
	return nil, fmt.Errorf("%s: other processes keep replacing the lock file", filepath.Join(f.path, name))
}

// Tidy removes unlocked lock files of keys without an entry, and temporary
// files that were last changed before a time.
func (f *Folder) Tidy(before time.Time) error {
	locks, err := f.files(lockSuffix)
	for _, lock := range locks {
		key := strings.TrimSuffix(lock, lockSuffix)
		if !isKey(key) {
			continue
		}
		if _, statErr := f.root.Lstat(name(key, entrySuffix)); !errors.Is(statErr, fs.ErrNotExist) {
			continue
		}
		if unlock, lockErr := f.TryLock(key); lockErr == nil {
			// A process that has opened the file detects the
			// removal in TryLock and creates a new one.
			err = errors.Join(err, f.root.Remove(lock))
			unlock()
		}
	}
	temps, tempErr := f.files(tempSuffix)
	err = errors.Join(err, tempErr)
	for _, temp := range temps {
		if info, statErr := f.root.Lstat(temp); statErr == nil && info.ModTime().Before(before) {
			err = errors.Join(err, f.root.RemoveAll(temp))
		}
	}
	return err
}
