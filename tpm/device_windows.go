package tpm

import (
	"context"
	"fmt"

	"github.com/google/go-tpm/tpm2/transport/windowstpm"

	"github.com/holdfast-dev/holdfast/signer"
)

// dial opens the TPM of the machine through TPM Base Services (TBS), which
// include a resource manager.
func dial(_ context.Context, path string) (*device, error) {
	if path != "" {
		return nil, signer.WithHint(fmt.Errorf("%s: Windows does not support a TPM device name: %w", path, signer.ErrUnavailable),
			"remove device= from the reference, and unset "+deviceVariable)
	}
	t, err := windowstpm.Open()
	if err != nil {
		return nil, fmt.Errorf("TPM Base Services: %w: %w", err, signer.ErrUnavailable)
	}
	return &device{TPM: t, close: t.Close, managed: true}, nil
}
