package credentials

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// newKeyring returns a Keyring of the test's own, or nil if there is none here.
func newKeyring(t *testing.T) Storage {
	t.Helper()
	k, err := OpenKeyring(fmt.Sprintf("holdfast-test-%016x:", rand.Uint64()))
	if errors.Is(err, ErrNoKeyring) && !signertest.Required("keyring") {
		t.Logf("%v", err)
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := Clear(k); err != nil {
			t.Error(err)
		}
	})
	return k
}

// The kernel removes expired keys.
func TestKeyringExpires(t *testing.T) {
	k := newKeyring(t)
	if k == nil {
		t.Skip("no keyring")
	}
	key := Key("a")
	for _, life := range []time.Duration{-time.Hour, time.Millisecond, 1500 * time.Millisecond} {
		if err := k.Save(key, []byte("x"), time.Now().Add(life)); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			_, err := k.Load(key)
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("timeout of %v: the key still exists, %v", life, err)
			}
		}
		if err := k.Remove(key); err != nil {
			t.Errorf("Remove of an expired key: %v", err)
		}
	}
}

// The user keyring, the fallback for the persistent keyring, works the same.
// Another thread, which is like another process for the keyring, can read its
// keys.
func TestUserKeyring(t *testing.T) {
	if newKeyring(t) == nil {
		t.Skip("no keyring")
	}
	k := newKeyring(t).(*Keyring)
	k.ring = userRing
	key := Key("a")
	if err := k.Save(key, []byte("x"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		data, err := k.Load(key)
		if err == nil && string(data) != "x" {
			err = fmt.Errorf("loaded %q", data)
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if keys, err := k.Keys(); len(keys) != 1 || err != nil {
		t.Errorf("keys %q, %v", keys, err)
	}
	if err := k.Remove(key); err != nil {
		t.Error(err)
	}
	if _, err := k.Load(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load of a removed key: %v", err)
	}
}

func TestNoKeyring(t *testing.T) {
	for _, errno := range []error{unix.ENOSYS, unix.EPERM, unix.EACCES, unix.EDQUOT} {
		k := &Keyring{"holdfast-test:", func() (int, error) { return 0, errno }}
		if err := k.do(func(int) error { t.Error("called"); return nil }); !errors.Is(err, ErrNoKeyring) || !errors.Is(err, errno) {
			t.Errorf("%v: error %v", errno, err)
		}
	}
}
