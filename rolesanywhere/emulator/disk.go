package emulator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

const (
	stateFile = "state.db"
	// lockWait is how long an emulator waits for another one that is about to end.
	lockWait = 2 * time.Second
)

// A disk stores tables in a folder. A write is on the disk when it returns. Only one
// process has a folder open. A nil disk stores nothing.
type disk struct{ db *bbolt.DB }

// openDisk opens or creates the folder, which only its owner can read.
func openDisk(folder string) (*disk, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(folder, stateFile)
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", path)
	default:
		if err := checkState(folder, path); err != nil {
			return nil, err
		}
	}
	db, err := openState(folder, path, false, nil)
	if err != nil {
		return nil, err
	}
	return &disk{db}, nil
}

// openState opens the file and locks it: for reading, so that others only read it too, or
// for writing.
func openState(folder, path string, readOnly bool, open func(string, int, os.FileMode) (*os.File, error)) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, ReadOnly: readOnly, OpenFile: open})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, fmt.Errorf("%s: another emulator uses this state folder", folder)
	}
	if err != nil {
		return nil, damaged(path, err)
	}
	return db, nil
}

// checkState checks the file while nobody writes to it. Opening for reading reads no
// pages but the first two, whose checksums bbolt verifies.
func checkState(folder, path string) error {
	var file *os.File // that bbolt opens and closes
	db, err := openState(folder, path, true, func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	})
	if err != nil {
		return err
	}
	err = checkStateFile(file)
	if err := errors.Join(err, db.Close()); err != nil {
		return damaged(path, err)
	}
	return nil
}

func damaged(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%s: %w; if it is damaged, replace it by a copy, or remove it to start with an empty state", path, err)
}

// write stores all rows or none.
func (d *disk) write(writes []storedRow) error {
	if d == nil || len(writes) == 0 {
		return nil
	}
	return d.db.Update(func(tx *bbolt.Tx) error {
		for _, w := range writes {
			b, err := tx.CreateBucketIfNotExists([]byte(w.table))
			if err != nil {
				return err
			}
			if w.value == nil {
				err = b.Delete([]byte(w.key))
			} else {
				err = b.Put([]byte(w.key), w.value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// tables returns the number of tables.
func (d *disk) tables() (n int, err error) {
	err = d.db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func([]byte, *bbolt.Bucket) error {
			n++
			return nil
		})
	})
	return n, err
}

// read calls f for each row of a table. f does not keep value.
func (d *disk) read(table string, f func(key string, value []byte) error) error {
	if d == nil {
		return nil
	}
	return d.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(table))
		if b == nil {
			return nil
		}
		return b.ForEach(func(key, value []byte) error {
			if err := f(string(key), value); err != nil {
				return damaged(d.db.Path(), fmt.Errorf("%s %s: %w", table, key, err))
			}
			return nil
		})
	})
}

func (d *disk) close() error {
	if d == nil {
		return nil
	}
	return d.db.Close()
}
