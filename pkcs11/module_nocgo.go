//go:build !cgo

package pkcs11

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// supported returns an error: this build cannot load modules in its own process.
func supported() error {
	return signer.WithHint(fmt.Errorf("this build does not include PKCS#11: %w", errors.ErrUnsupported),
		"build holdfast with CGO_ENABLED=1 and a C compiler for this operating system")
}

func load(string) (module, error) { return nil, supported() }
