//go:build !cgo

package pkcs11

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// supported says why this build can load no module.
func supported() error {
	return signer.WithHint(fmt.Errorf("this build has no PKCS#11: %w", errors.ErrUnsupported),
		"build holdfast with CGO_ENABLED=1 and a C compiler, on the system that it runs on")
}

func load(string) (module, error) { return nil, supported() }
