//go:build !linux

package credentials

import "time"

// A Keyring is a [Store] in the memory of the Linux kernel.
type Keyring struct{}

// OpenKeyring always fails.
func OpenKeyring(string) (*Keyring, error) {
	return nil, ErrNoKeyring
}

// Load implements [Store].
func (*Keyring) Load(string) ([]byte, error) { return nil, ErrNoKeyring }

// Save implements [Store].
func (*Keyring) Save(string, []byte, time.Time) error { return ErrNoKeyring }

// Remove implements [Store].
func (*Keyring) Remove(string) error { return ErrNoKeyring }

// Keys implements [Store].
func (*Keyring) Keys() ([]string, error) { return nil, ErrNoKeyring }
