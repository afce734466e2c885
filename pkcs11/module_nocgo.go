//go:build !cgo

package pkcs11

import (
	"errors"

	"github.com/holdfast-dev/holdfast/signer"
)

// supported returns an error: this build cannot load modules in its own process.
func supported() error {
	return signer.WithHint(notHereError{},
		"set URI.Isolation to auto (isolation=auto in a reference that says off), or build this program with CGO_ENABLED=1 and a C compiler")
}

// A notHereError is [errors.ErrUnsupported], whose text would add nothing.
type notHereError struct{}

func (notHereError) Error() string {
	return "this build runs PKCS #11 modules only in the helper " + helperName
}

func (notHereError) Unwrap() error { return errors.ErrUnsupported }

func load(string) (module, error) { return nil, supported() }
