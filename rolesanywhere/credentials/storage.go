package credentials

import (
	"errors"
	"io/fs"
	"time"
)

// A Storage shares data between processes of the same user. The names of the data
// are results of [Key]. Its methods are safe for concurrent use, even by
// several processes.
type Storage interface {
	// Load returns the data that was saved last. The error is
	// fs.ErrNotExist if there is none, and an [*UnsafeError] if another
	// user may have written it.
	Load(key string) ([]byte, error)
	// Save atomically replaces the data of a key. If the Storage supports it,
	// the data is removed when it expires.
	Save(key string, data []byte, expires time.Time) error
	// Remove removes the data of a key, if there is any.
	Remove(key string) error
	// Keys returns the keys that have data.
	Keys() ([]string, error)
}

// An UnsafeError reports a cache file or folder that other users could have
// read or written.
type UnsafeError struct {
	Path string
	Why  string
	hint string
}

func (e *UnsafeError) Error() string { return e.Path + " " + e.Why }

// Hint returns a way to fix the problem.
func (e *UnsafeError) Hint() string { return e.hint }

// Unwrap returns [fs.ErrPermission].
func (e *UnsafeError) Unwrap() error { return fs.ErrPermission }

// List returns the valid entries in a Storage.
func List(s Storage, now time.Time) (map[string]Entry, error) {
	keys, err := s.Keys()
	entries := make(map[string]Entry)
	for _, key := range keys {
		if f := load(s, key, now, 0); f.valid {
			entries[key] = f.Entry
		}
	}
	return entries, err
}

// Clear removes all data in a Storage and returns the number of removed keys.
func Clear(s Storage) (int, error) {
	n, tried := 0, make(map[string]bool)
	for {
		keys, err := s.Keys() // may return only some of many keys
		more := false
		for _, key := range keys {
			if tried[key] { // saved again in the meantime
				continue
			}
			tried[key], more = true, true
			if removeErr := s.Remove(key); removeErr != nil {
				err = errors.Join(err, removeErr)
			} else {
				n++
			}
		}
		if err != nil || !more {
			return n, err
		}
	}
}

// A found is the result of loading an entry from a Storage.
type found struct {
	Entry
	valid bool
	left  float64 // fraction of the renewal window left, 0 to 1; more than 1: not due
	err   error   // why the entry cannot be used
}

func load(s Storage, key string, now time.Time, window time.Duration) (f found) {
	data, err := s.Load(key)
	if errors.Is(err, fs.ErrNotExist) {
		return f
	}
	if f.err = err; err == nil {
		f.Entry, f.err = decodeEntry(key, data)
	}
	if errors.Is(f.err, errOlder) { // as if there were nothing
		return found{}
	}
	if f.err == nil && f.Entry.valid(now) {
		f.valid = true
		f.left = float64(f.Credentials.Expires.Sub(now)) / float64(f.Entry.window(window))
	}
	return f
}
