package main

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// hangs is how long what a device hangs in is waited for at the end.
const hangs = time.Second

// orLeave is getOrLeave of an f without a value.
func orLeave(ctx context.Context, what string, f func() error) error {
	_, err := getOrLeave(ctx, what, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// getOrLeave returns what f does, or leaves it behind if it does not return soon
// after ctx ended: modules for devices know no context. The process is to end.
// The error then is of what, such as a key, and wraps that of ctx.
func getOrLeave[T any](ctx context.Context, what string, f func() (T, error)) (T, error) {
	later, cancel := await.Later(ctx, hangs)
	defer cancel()
	value, inTime, err := await.InTime(later, f, nil)
	if !inTime {
		err = signer.WithHint(fmt.Errorf("%s: the device hangs: %w", what, ctx.Err()),
			"interrupted; before you run it again, reconnect the device or restart the service that it is behind, such as pcscd")
	}
	return value, err
}
