// Package all lists the backends of Holdfast: files, programs, PKCS #11, TPM 2.0,
// Windows, macOS, the SPIFFE Workload API and ssh-agent. docs/stability.md lists the
// modules that they link; to link fewer, pass only some backends to [keystore.New].
// PKCS #11 needs cgo: without it, its references fail with an error that wraps
// [errors.ErrUnsupported].
package all

import (
	"github.com/holdfast-dev/holdfast/keychain"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/keystore/program"
	"github.com/holdfast-dev/holdfast/keystore/spiffe"
	"github.com/holdfast-dev/holdfast/keystore/sshagent"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/tpm"
	"github.com/holdfast-dev/holdfast/winstore"
)

// Backends returns all backends.
func Backends() []keystore.Backend {
	return []keystore.Backend{
		file.Backend{},
		program.Backend{},
		pkcs11.Backend{},
		tpm.Backend{},
		winstore.Backend{},
		keychain.Backend{},
		spiffe.Backend{},
		sshagent.Backend{},
	}
}

// New returns a Store with all backends.
func New() *keystore.Store { return keystore.New(Backends()...) }
