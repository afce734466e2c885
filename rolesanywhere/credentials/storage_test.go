package credentials

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

func newFolder(tb testing.TB) *Folder {
	tb.Helper()
	f, err := MakeFolder(filepath.Join(tb.TempDir(), "cache", "holdfast"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}

// stores returns the Storages with which each test runs.
func stores(t *testing.T) map[string]Storage {
	all := map[string]Storage{"folder": newFolder(t)}
	if k := newKeyring(t); k != nil {
		all["keyring"] = k
	}
	return all
}

func TestStore(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			a, b := Key("a"), Key("b")
			end := time.Now().Add(time.Hour)
			if _, err := s.Load(a); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Load of a missing key: %v", err)
			}
			if err := s.Remove(a); err != nil {
				t.Errorf("Remove of a missing key: %v", err)
			}
			want := bytes.Repeat([]byte("x"), maxEntry)
			if name == "keyring" {
				want = want[:4000] // the quota of a user is 20,000 bytes
			}
			for _, step := range []struct {
				key  string
				data []byte
			}{{a, []byte("first")}, {b, []byte("other")}, {a, []byte("second")}, {a, want}} {
				if err := s.Save(step.key, step.data, end); err != nil {
					t.Fatal(err)
				}
				if got, err := s.Load(step.key); err != nil || !bytes.Equal(got, step.data) {
					t.Fatalf("saved %.10q, loaded %.10q, %v", step.data, got, err)
				}
			}
			keys, err := s.Keys()
			slices.Sort(keys)
			if err != nil || !slices.Equal(keys, slices.Sorted(slices.Values([]string{a, b}))) {
				t.Errorf("keys %q, %v", keys, err)
			}
			if err := s.Remove(b); err != nil {
				t.Error(err)
			}
			if _, err := s.Load(b); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Load of a removed key: %v", err)
			}
			if n, err := Clear(s); n != 1 || err != nil {
				t.Errorf("Clear: %d, %v", n, err)
			}
			if keys, err := s.Keys(); len(keys) != 0 || err != nil {
				t.Errorf("keys %q, %v", keys, err)
			}
		})
	}
}

// Concurrent readers get the complete data of one writer, never a mixture.
func TestStoreIsAtomic(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			key, end := Key("a"), time.Now().Add(time.Hour)
			const step = 100 // bytes
			save := func(i int) error {
				data := bytes.Repeat([]byte{'a' + byte(i)}, step*(i+1))
				err := s.Save(key, data, end)
				for tries := 0; errors.Is(err, syscall.EDQUOT) && tries < 1000; tries++ {
					time.Sleep(time.Millisecond) // the quota includes replaced keys for a moment
					err = s.Save(key, data, end)
				}
				return err
			}
			if err := save(0); err != nil {
				t.Fatal(err)
			}
			var writers, readers sync.WaitGroup
			stop := make(chan struct{})
			for range 4 {
				readers.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						data, err := s.Load(key)
						if err != nil || len(data) == 0 || !bytes.Equal(data, bytes.Repeat(data[:1], step*(int(data[0]-'a')+1))) {
							t.Errorf("loaded %d bytes, %v", len(data), err)
							return
						}
					}
				})
			}
			for i := range 4 {
				writers.Go(func() {
					for range 20 {
						if err := save(i); err != nil {
							t.Error(err)
						}
					}
				})
			}
			writers.Wait()
			close(stop)
			readers.Wait()
		})
	}
}

func TestList(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			save := func(name string, change func(*Entry)) string {
				e, key := sample, Key(name)
				change(&e)
				data, err := e.encode(key)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Save(key, data, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
				return key
			}
			good := save("good", func(*Entry) {})
			save("expired", func(e *Entry) { e.Credentials.Expires = issued.Add(time.Minute) })
			if err := s.Save(Key("bad"), []byte("bad"), time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			entries, err := List(s, issued.Add(2*time.Minute))
			if err != nil || len(entries) != 1 || entries[good] != sample {
				t.Errorf("%d entries, %v", len(entries), err)
			}
		})
	}
}

func TestKeysFromElsewhere(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Load accepts a key that is a path")
		}
	}()
	_, _ = newFolder(t).Load("../../etc/passwd")
}

// A crowd is a Storage whose Keys returns at most two keys at a time.
type crowd struct {
	Storage
	keys map[string]bool
}

func (c crowd) Keys() (some []string, err error) {
	for key := range c.keys {
		if len(some) < 2 {
			some = append(some, key)
		}
	}
	return some, nil
}

func (c crowd) Remove(key string) error {
	delete(c.keys, key)
	return nil
}

func TestClearMany(t *testing.T) {
	c := crowd{keys: map[string]bool{"a": true, "b": true, "c": true, "d": true, "e": true}}
	if n, err := Clear(c); n != 5 || err != nil || len(c.keys) > 0 {
		t.Errorf("%d removed, %v; remaining keys %v", n, err, c.keys)
	}
}
