package tpm

import (
	"context"
	"fmt"

	"github.com/google/go-tpm/tpm2/transport/windowstpm"

	"github.com/holdfast-dev/holdfast/signer"
)

// dial opens the machine's TPM through TPM Base Services, which are a resource
// manager.
func dial(_ context.Context, path string) (*device, error) {
	if path != "" {
		return nil, signer.WithHint(fmt.Errorf("%s: Windows has one TPM, which needs no device: %w", path, signer.ErrUnavailable),
			"leave out device=, and unset "+deviceVariable)
	}
	t, err := windowstpm.Open()
	if err != nil {
		return nil, fmt.Errorf("TPM Base Services: %w: %w", err, signer.ErrUnavailable)
	}
	return &device{TPM: t, close: t.Close, managed: true}, nil
}
