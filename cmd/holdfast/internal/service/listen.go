package service

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials/loopback"
	"github.com/holdfast-dev/holdfast/signer"
)

// ExposesStatus says what other machines can do if they reach the status endpoints.
const ExposesStatus = "read the names of the roles and the state of their credentials"

// Listen opens a TCP address. The parameter what names the address in errors, and
// exposed completes the hint about --allow-remote.
func Listen(ctx context.Context, what, addr string, allowRemote bool, exposed string) (net.Listener, error) {
	l, err := loopback.Listen(ctx, addr, allowRemote)
	if err != nil {
		return nil, ListenError(what, err, exposed)
	}
	return l, nil
}

// ListenError returns the error about an address or a socket that cannot be used.
func ListenError(what string, err error, exposed string) error {
	if errors.Is(err, loopback.ErrNotLoopback) {
		return signer.WithHint(front.Usagef("%s: %w", what, err),
			"use 127.0.0.1, or add --allow-remote, which lets other machines "+exposed)
	}
	return signer.WithHint(fmt.Errorf("%s: %w", what, err), "choose another address or port; port 0 selects a free port")
}
