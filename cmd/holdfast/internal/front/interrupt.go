package front

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// HangTimeout is how long the end of a command waits for a call that is stuck
// in a device.
const HangTimeout = time.Second

// Interruptible is [InterruptibleValue] for a call without a value.
func Interruptible(ctx context.Context, what string, call func() error) error {
	_, err := InterruptibleValue(ctx, what, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// InterruptibleValue returns what call does, or leaves it behind if it has not
// returned a [HangTimeout] after ctx ended: modules for devices know no context.
// The process is to end then. The error is of what, such as a key, and wraps
// that of ctx.
func InterruptibleValue[T any](ctx context.Context, what string, call func() (T, error)) (T, error) {
	later, cancel := await.Later(ctx, HangTimeout)
	defer cancel()
	value, inTime, err := await.InTime(later, call, nil)
	if !inTime {
		err = signer.WithHint(fmt.Errorf("%s: the device hangs: %w", what, ctx.Err()),
			"interrupted; before you run the command again, reconnect the device or restart its service, such as pcscd")
	}
	return value, err
}
