package credentials

import (
	"errors"
	"io/fs"
	"time"
)

// A Storage keeps bytes for other processes of the same user under a [Key]. Its
// methods are safe for concurrent use, also by several processes.
type Storage interface {
	// Load returns what was saved last. Its error is fs.ErrNotExist if there
	// is nothing, and an [*UnsafeError] if what is there may be another's.
	Load(key string) ([]byte, error)
	// Save keeps data in the place of what is there, all of it or nothing. A
	// Storage that can forget by itself does so when they expire.
	Save(key string, data []byte, expires time.Time) error
	// Remove forgets; nothing there is no error.
	Remove(key string) error
	// Keys returns the keys of what is there.
	Keys() ([]string, error)
}

// An UnsafeError is something in the place of a cache that others could have
// read or written.
type UnsafeError struct {
	Path string
	Why  string
	hint string
}

func (e *UnsafeError) Error() string { return e.Path + " " + e.Why }

// Hint says the way out.
func (e *UnsafeError) Hint() string { return e.hint }

// Unwrap makes it a [fs.ErrPermission].
func (e *UnsafeError) Unwrap() error { return fs.ErrPermission }

// List returns what a Storage has that may still be given out.
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

// Clear removes all that a Storage has and returns how much that was.
func Clear(s Storage) (int, error) {
	n, tried := 0, make(map[string]bool)
	for {
		keys, err := s.Keys() // of many some at a time
		more := false
		for _, key := range keys {
			if tried[key] { // and there again
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

// A found is what a Storage has under a key.
type found struct {
	Entry
	valid bool
	left  float64 // of its window, from 0 to 1; more than 1: it is not due
	err   error   // why what is there cannot be used
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
