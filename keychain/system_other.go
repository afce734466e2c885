//go:build !darwin

package keychain

import (
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/signer"
)

func system() (native.System, error) {
	return nil, signer.WithHint(fmt.Errorf("only macOS has a keychain: %w", errors.ErrUnsupported),
		"use a key file or a PKCS #11 token on this system")
}
