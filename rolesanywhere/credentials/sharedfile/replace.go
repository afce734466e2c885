package sharedfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/fileowner"
)

// maxLinks is the maximum number of symbolic links to follow, as in Linux.
const maxLinks = 40

// resolve follows symbolic links, even to a file that does not exist, and
// returns the resulting path. It creates the folder of path, but for root not
// below a folder of another user.
func resolve(path string) (string, error) {
	if path == "" {
		return "", errors.New("path of the credentials file is empty")
	}
	if err := fileowner.Check(path); err != nil {
		return "", err
	}
	folder, _ := filepath.Split(path)
	if err := os.MkdirAll(cmp.Or(folder, "."), 0o700); err != nil {
		return "", err
	}
	for name, left := path, maxLinks; left > 0; left-- {
		// Do not clean the path before this: the meaning of .. depends
		// on the real location of a folder.
		folder, base := filepath.Split(name)
		folder, err := filepath.EvalSymlinks(cmp.Or(folder, "."))
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		name = filepath.Join(folder, base)
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink == 0 {
			return name, fileowner.Check(name)
		}
		if err != nil {
			return "", err
		}
		link, err := os.Readlink(name)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(link) {
			link = folder + string(filepath.Separator) + link
		}
		name = link
	}
	return "", &fs.PathError{Op: "open", Path: path, Err: errLoop}
}

// read returns the content of a file. info is nil if the file does not exist.
func read(path string) (data []byte, info fs.FileInfo, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: %w: it is not a regular file", path, ErrFormat)
	}
	data, err = io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		err = fmt.Errorf("%s: %w: it has more than %d bytes", path, ErrFormat, MaxSize)
	}
	return data, info, err
}

// Prefix and suffix of the names of temporary files, after the name of the file
// itself. Each temporary file has a unique name, so that without a working lock
// an update can be lost, but the file is never replaced with partial data.
const temporaryPrefix, temporarySuffix = ".holdfast.", ".tmp"

// removeLeftovers removes temporary files of killed writers. The caller holds
// the lock.
func removeLeftovers(path string) error {
	folder, base := filepath.Split(path)
	entries, err := os.ReadDir(cmp.Or(folder, "."))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), base+temporaryPrefix); ok && (strings.HasSuffix(rest, temporarySuffix) || rest == temporarySuffix[1:]) {
			err = errors.Join(err, ignoreError(os.Remove(filepath.Join(folder, e.Name())), fs.ErrNotExist))
		}
	}
	return err
}

// replace atomically replaces the file path with data and keeps the mode and
// owner in old, unless old is nil. syncErr is nil if the change survives a
// power failure.
func replace(path string, data []byte, old fs.FileInfo) (syncErr, err error) {
	f := atomicfile.File{Name: path, Temporary: filepath.Base(path) + temporaryPrefix + "*" + temporarySuffix}
	if old != nil {
		f.Prepare = func(temporary *os.File) error { return atomicfile.CopyOwnerAndMode(temporary, old) }
	}
	if err := f.Replace(data); err != nil {
		return nil, err
	}
	return f.SyncFolder(), nil
}

func ignoreError(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}
