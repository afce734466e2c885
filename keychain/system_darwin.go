package keychain

import (
	"fmt"

	"github.com/holdfast-dev/holdfast/keychain/internal/native"
	"github.com/holdfast-dev/holdfast/keychain/internal/secfw"
)

func system() (native.System, error) {
	api, err := secfw.System()
	if err != nil {
		return nil, fmt.Errorf("this macOS lacks what Holdfast needs of it: %w", err)
	}
	return api, nil
}
