package emulator

import (
	"errors"
	"fmt"
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
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, fmt.Errorf("%s: another emulator uses this state folder", folder)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &disk{db}, nil
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
				return fmt.Errorf("%s: %s %s: %w", d.db.Path(), table, key, err)
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
