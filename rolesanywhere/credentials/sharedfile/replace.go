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
)

// maxLinks bounds how many symbolic links lead to the file, as Linux does.
const maxLinks = 40

// resolve follows symbolic links, also one that leads to a file that is not
// there, and makes the folder of path.
func resolve(path string) (string, error) {
	if path == "" {
		return "", errors.New("path of the credentials file is empty")
	}
	folder, _ := filepath.Split(path)
	if err := os.MkdirAll(cmp.Or(folder, "."), 0o700); err != nil {
		return "", err
	}
	for name, left := path, maxLinks; left > 0; left-- {
		// Nothing is cleaned before: what .. means depends on where a folder
		// really is.
		folder, base := filepath.Split(name)
		folder, err := filepath.EvalSymlinks(cmp.Or(folder, "."))
		if err != nil {
			return "", fmt.Errorf("%s: %w", path, err)
		}
		name = filepath.Join(folder, base)
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink == 0 {
			return name, nil
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

// read returns what is in a file. info is nil if it is not there.
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

// The names of temporary files. Each has one of its own, so that where the lock
// does not hold an update may be lost, but no half of a file takes its place.
const temporaryPrefix, temporarySuffix = ".holdfast.", ".tmp"

// removeLeftovers removes the temporary files of writers that were killed; the
// caller holds the lock.
func removeLeftovers(path string) error {
	folder, base := filepath.Split(path)
	entries, err := os.ReadDir(cmp.Or(folder, "."))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), base+temporaryPrefix); ok && (strings.HasSuffix(rest, temporarySuffix) || rest == temporarySuffix[1:]) {
			err = errors.Join(err, ignore(os.Remove(filepath.Join(folder, e.Name())), fs.ErrNotExist))
		}
	}
	return err
}

// replace puts data where path is, with the mode and owner of the file that was
// there, if there was one. durable is nil if that outlasts a power cut.
func replace(path string, data []byte, old fs.FileInfo) (durable, err error) {
	f := atomicfile.File{Name: path, Temporary: filepath.Base(path) + temporaryPrefix + "*" + temporarySuffix}
	if old != nil {
		f.Prepare = func(temporary *os.File) error { return keep(temporary, old) }
	}
	if err := f.Replace(data); err != nil {
		return nil, err
	}
	return f.SyncFolder(), nil
}

// keep gives f the owner and the mode of another file.
func keep(f *os.File, like fs.FileInfo) error {
	if err := keepOwner(f, like); err != nil {
		return err
	}
	return f.Chmod(like.Mode().Perm())
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}
