//go:build !cgo

package pkcs11

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// supported returns an error: this build cannot load modules in its own process.
func supported() error {
	return signer.WithHint(fmt.Errorf("this build runs PKCS #11 modules only in the helper %s: %w", helperName, errors.ErrUnsupported),
		"set URI.Isolation to auto (isolation=auto in a reference that says off), or build this program with CGO_ENABLED=1 and a C compiler")
}

func load(string) (module, error) { return nil, supported() }
