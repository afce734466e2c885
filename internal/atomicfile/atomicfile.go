// Package atomicfile writes files atomically. It writes the data to a temporary
// file in the same folder and then renames or links that file to its final
// name.
package atomicfile

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// An FS is the file system in which a [File] is written. An [*os.Root] is one.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error)
	Rename(oldname, newname string) error
	Link(oldname, newname string) error
	Remove(name string) error
}

// A File describes where and how data is written. Its methods do not change it,
// and they are safe for concurrent use if FS and Prepare are.
type File struct {
	FS   FS     // nil: package os
	Name string // a path in FS

	// Temporary is the name pattern of the temporary file, without the
	// folder. It must contain a *; a random number replaces the last one. A
	// process that is killed leaves the temporary file behind, so cleanup
	// code needs to know the pattern.
	Temporary string // "": .holdfast-*

	// Prepare is called with the temporary file, which has mode 0600,
	// before data is written, for example to change its owner. It must not
	// close the file. If it returns an error, no data is written and that
	// error is returned.
	Prepare func(*os.File) error // nil: no preparation

	// NoSync does not flush the data to disk. After a power failure the file
	// may be empty.
	NoSync bool
}

// Replace atomically replaces the content of the file with data, or creates the
// file. A concurrent reader, and any reader after a crash, sees either all of
// the old data or all of the new data. On error the file is unchanged and the
// temporary file is removed.
func (f File) Replace(data []byte) error { return f.write(data, f.fs().Rename, true) }

// Create creates the file with data. If the name exists, even as a symbolic
// link, the error wraps [fs.ErrExist]. After any other error the file may
// exist, but then it is complete. The file system must support hard links.
func (f File) Create(data []byte) error { return f.write(data, f.fs().Link, false) }

// write places the temporary file; moved means that place leaves nothing behind.
func (f File) write(data []byte, place func(oldname, newname string) error, moved bool) error {
	folder, _ := filepath.Split(f.Name)
	temporary := folder + f.temporary()
	file, err := f.fs().OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = errors.Join(f.fill(file, data), file.Close()); err == nil {
		err = whileInUse(func() error { return place(temporary, f.Name) })
	}
	if err == nil && moved {
		return nil
	}
	// A rename that failed can have been made.
	if removeErr := whileInUse(func() error { return f.fs().Remove(temporary) }); !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

// useTimeout is how long whileInUse repeats a call. Programs that scan or copy a
// file have it open for a moment.
const useTimeout = 2 * time.Second

// whileInUse calls change again while it fails because another program has the
// file open, which only Windows reports.
func whileInUse(change func() error) error {
	for end := time.Now().Add(useTimeout); ; time.Sleep(10 * time.Millisecond) {
		if err := change(); err == nil || !isInUse(err) || time.Now().After(end) {
			return err
		}
	}
}

func (f File) fill(file *os.File, data []byte) error {
	if f.Prepare != nil {
		if err := f.Prepare(file); err != nil {
			return err
		}
	}
	if _, err := file.Write(data); err != nil || f.NoSync {
		return err
	}
	return file.Sync()
}

func (f File) temporary() string {
	pattern := cmp.Or(f.Temporary, ".holdfast-*")
	star := strings.LastIndexByte(pattern, '*')
	return fmt.Sprintf("%s%016x%s", pattern[:star], rand.Uint64(), pattern[star+1:])
}

// SyncFolder flushes the folder to disk, so that the name written by Replace or
// Create survives a power failure. The data is flushed already. On Windows,
// which cannot flush folders, SyncFolder does nothing.
func (f File) SyncFolder() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	folder, _ := filepath.Split(f.Name)
	d, err := f.fs().OpenFile(cmp.Or(folder, "."), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f File) fs() FS {
	if f.FS == nil {
		return osFS{}
	}
	return f.FS
}

type osFS struct{}

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, perm)
}
func (osFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }
func (osFS) Link(oldname, newname string) error   { return os.Link(oldname, newname) }
func (osFS) Remove(name string) error             { return os.Remove(name) }
