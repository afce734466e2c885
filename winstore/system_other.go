//go:build !windows

package winstore

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

func newSystem() (system, error) {
	return nil, signer.WithHint(fmt.Errorf("only Windows has certificate stores: %w", errors.ErrUnsupported),
		"use a key file or a PKCS #11 token on this system")
}
