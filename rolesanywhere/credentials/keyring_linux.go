package credentials

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Keyring is a [Storage] in the memory of the Linux kernel, which removes what
// has expired. Its data is never written to a disk, not even to swap space.
//
// It is the user's persistent keyring (persistent-keyring(7)). All sessions of
// the user share it, even without a login, and it remains while no process of
// the user runs. If the kernel does not support it, the Keyring is the user
// keyring (user-keyring(7)), which ends with the last process of the user.
type Keyring struct {
	prefix string
	ring   func() (int, error) // links the keyring to the thread keyring and returns it
}

const (
	keyType  = "user"
	maxTries = 100 // in Load
)

// OpenKeyring returns a Keyring for the user's keys whose descriptions begin
// with prefix. The error wraps [ErrNoKeyring]. A Keyring need not be closed.
func OpenKeyring(prefix string) (*Keyring, error) {
	k := &Keyring{prefix, ownRing}
	return k, k.do(func(int) error { return nil })
}

// do runs f in a thread that possesses the keyring. The permissions of the
// owner are not enough to read a key.
func (k *Keyring) do(f func(ring int) error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := k.ring()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoKeyring, err)
	}
	if err := f(ring); err != nil {
		return fmt.Errorf("kernel keyring: %w", err)
	}
	return nil
}

func ownRing() (int, error) {
	const ownUser = -1
	ring, err := unix.KeyctlInt(unix.KEYCTL_GET_PERSISTENT, ownUser, unix.KEY_SPEC_THREAD_KEYRING, 0, 0)
	if errors.Is(err, unix.EOPNOTSUPP) { // a kernel without CONFIG_PERSISTENT_KEYRINGS
		return userRing()
	}
	return ring, err
}

func userRing() (int, error) {
	_, err := unix.KeyctlInt(unix.KEYCTL_LINK, unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_THREAD_KEYRING, 0, 0)
	return unix.KEY_SPEC_USER_KEYRING, err
}

// Load implements [Storage]. If another process replaces the key between the
// search and the read, Load searches again.
func (k *Keyring) Load(key string) (data []byte, err error) {
	err = k.do(func(ring int) error {
		for try := 1; ; try++ {
			id, err := k.find(ring, key)
			if err != nil {
				return err
			}
			data = make([]byte, maxEntry)
			n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, id, data, 0)
			if err == nil {
				data = data[:min(n, len(data))]
				return nil
			}
			if data, err = nil, absent(err); try == maxTries || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EACCES) {
				return err
			}
		}
	})
	return data, err
}

func (k *Keyring) find(ring int, key string) (int, error) {
	id, err := unix.KeyctlSearch(ring, keyType, k.prefix+key, 0)
	return id, absent(err)
}

// absent returns fs.ErrNotExist for all errors of a key that no longer exists.
func absent(err error) error {
	for _, gone := range []error{unix.ENOKEY, unix.EKEYEXPIRED, unix.EKEYREVOKED} {
		if errors.Is(err, gone) {
			return fs.ErrNotExist
		}
	}
	return err
}

// Save implements [Storage]. The key becomes visible to others only after its
// timeout is set, and replaces the previous key atomically.
func (k *Keyring) Save(key string, data []byte, expires time.Time) error {
	return k.do(func(ring int) error {
		const own = unix.KEY_SPEC_THREAD_KEYRING
		id, err := unix.AddKey(keyType, k.prefix+key, data, own)
		if err != nil {
			return err
		}
		seconds := max(int(time.Until(expires)/time.Second), 1) // 0 would mean no timeout
		if _, err = unix.KeyctlInt(unix.KEYCTL_SET_TIMEOUT, id, seconds, 0, 0); err == nil {
			_, err = unix.KeyctlInt(unix.KEYCTL_LINK, id, ring, 0, 0)
		}
		_, unlinkErr := unix.KeyctlInt(unix.KEYCTL_UNLINK, id, own, 0, 0)
		return errors.Join(err, unlinkErr)
	})
}

// Remove implements [Storage].
func (k *Keyring) Remove(key string) error {
	err := k.do(func(ring int) error {
		id, err := k.find(ring, key)
		if err == nil {
			_, err = unix.KeyctlInt(unix.KEYCTL_UNLINK, id, ring, 0, 0)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Keys implements [Storage].
func (k *Keyring) Keys() (keys []string, err error) {
	err = k.do(func(ring int) error {
		ids := make([]byte, 4*maxFiles)
		n, err := unix.KeyctlBuffer(unix.KEYCTL_READ, ring, ids, 0)
		if err != nil {
			return err
		}
		for ids = ids[:min(n, len(ids))]; len(ids) >= 4; ids = ids[4:] {
			// type;uid;gid;permissions;description
			text, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, int(int32(binary.NativeEndian.Uint32(ids))))
			parts := strings.SplitN(text, ";", 5)
			if err != nil || len(parts) != 5 || parts[0] != keyType {
				continue
			}
			if key, ok := strings.CutPrefix(parts[4], k.prefix); ok && isKey(key) {
				keys = append(keys, key)
			}
		}
		return nil
	})
	return keys, err
}
