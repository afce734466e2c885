package keychain

import (
	"fmt"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/keychain/internal/secfw"
)

func system() (native.System, error) {
	api, err := secfw.System()
	if err != nil {
		return nil, fmt.Errorf("this version of macOS lacks functions that Holdfast needs: %w", err)
	}
	return api, nil
}
