//go:build !windows

package winstore

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

func newSystem() (system, error) {
	return nil, signer.WithHint(fmt.Errorf("certificate stores of Windows are to be had on Windows alone: %w", errors.ErrUnsupported),
		"use a key file, a PKCS#11 module, or run on Windows")
}
