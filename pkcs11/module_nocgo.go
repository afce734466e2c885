//go:build !cgo

package pkcs11

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

func load(string) (module, error) {
	return nil, signer.WithHint(fmt.Errorf("this build has no PKCS#11: %w", errors.ErrUnsupported),
		"build holdfast with CGO_ENABLED=1 and a C compiler, on the system that it runs on")
}
