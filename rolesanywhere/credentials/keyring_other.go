//go:build !linux

package credentials

import "time"

// A Keyring is a [Storage] in the memory of the Linux kernel.
type Keyring struct{}

// OpenKeyring always fails.
func OpenKeyring(string) (*Keyring, error) {
	return nil, ErrNoKeyring
}

// Load implements [Storage].
func (*Keyring) Load(string) ([]byte, error) { return nil, ErrNoKeyring }

// Save implements [Storage].
func (*Keyring) Save(string, []byte, time.Time) error { return ErrNoKeyring }

// Remove implements [Storage].
func (*Keyring) Remove(string) error { return ErrNoKeyring }

// Keys implements [Storage].
func (*Keyring) Keys() ([]string, error) { return nil, ErrNoKeyring }
