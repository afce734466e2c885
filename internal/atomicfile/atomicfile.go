// Package atomicfile writes files whole or not at all: each is written under a
// temporary name in the same folder, which then becomes its name.
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
)

// An FS has the files. An [*os.Root] is one.
type FS interface {
	OpenFile(name string, flag int, perm fs.FileMode) (*os.File, error)
	Rename(oldname, newname string) error
	Link(oldname, newname string) error
	Remove(name string) error
}

// A File says where data is to be written, and how. It is not changed by being
// used; its methods are safe for concurrent use if FS and Prepare are.
type File struct {
	FS   FS     // nil: that of package os
	Name string // a path in FS

	// Temporary is the name of the temporary file, without its folder; a
	// random number replaces the last *, which has to be there. A process
	// that is killed leaves this file behind, so that who tidies up has to
	// know the name.
	Temporary string // "": .holdfast-*

	// Prepare gets the temporary file, of mode 0600, before data is written,
	// such as to change its owner. It does not close it. If it returns an
	// error nothing is written, and the error is returned.
	Prepare func(*os.File) error // nil: nothing to do
}

// Replace puts data in the place of the file, or makes it. Who reads meanwhile
// sees all of the old data or all of the new, and so does everybody after a
// crash. After an error the file is as it was, and the temporary file is
// removed.
func (f File) Replace(data []byte) error { return f.write(data, f.fs().Rename) }

// Create makes the file. If the name is taken, also by a symbolic link, the
// error is [fs.ErrExist]. After another error the file can be there, but then
// it is whole. The file system must have hard links.
func (f File) Create(data []byte) error { return f.write(data, f.fs().Link) }

func (f File) write(data []byte, place func(oldname, newname string) error) error {
	folder, _ := filepath.Split(f.Name)
	temporary := folder + f.temporary()
	file, err := f.fs().OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = errors.Join(f.fill(file, data), file.Close()); err == nil {
		err = place(temporary, f.Name)
	}
	// A rename left nothing to remove.
	if removeErr := f.fs().Remove(temporary); !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}

func (f File) fill(file *os.File, data []byte) error {
	if f.Prepare != nil {
		if err := f.Prepare(file); err != nil {
			return err
		}
	}
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.Sync()
}

func (f File) temporary() string {
	pattern := cmp.Or(f.Temporary, ".holdfast-*")
	star := strings.LastIndexByte(pattern, '*')
	return fmt.Sprintf("%s%016x%s", pattern[:star], rand.Uint64(), pattern[star+1:])
}

// SyncFolder makes that the name which Replace or Create gave outlasts a power
// cut; the data does already. On Windows it does nothing, since that flushes no
// folders.
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
