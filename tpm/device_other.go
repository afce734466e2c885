//go:build !unix && !windows

package tpm

import (
	"context"
	"errors"
	"fmt"
)

func dial(context.Context, string) (*device, error) {
	return nil, fmt.Errorf("TPMs are not supported on this operating system: %w", errors.ErrUnsupported)
}
