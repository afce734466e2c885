// Package all lists the backends of Holdfast.
package all

import (
	"github.com/holdfast-dev/holdfast/keychain"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/tpm"
	"github.com/holdfast-dev/holdfast/winstore"
)

// Backends returns all backends. A new backend is added here.
func Backends() []keystore.Backend {
	return []keystore.Backend{
		file.Backend{},
		pkcs11.Backend{},
		tpm.Backend{},
		winstore.Backend{},
		keychain.Backend{},
	}
}

// New returns a Store with all backends.
func New() *keystore.Store { return keystore.New(Backends()...) }
