package front

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// HangTimeout is how long an interrupted command waits for a call that is stuck
// in a device.
const HangTimeout = time.Second

// Interruptible is [InterruptibleValue] for a call that returns only an error.
func Interruptible(ctx context.Context, what string, call func() error) error {
	_, err := InterruptibleValue(ctx, what, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// InterruptibleValue returns the result of call. If call has not returned a
// [HangTimeout] after the end of ctx, it returns an error that names what, such
// as a key, and wraps the error of ctx. The call continues in its goroutine,
// since modules for devices do not support contexts; the process should exit
// then.
func InterruptibleValue[T any](ctx context.Context, what string, call func() (T, error)) (T, error) {
	later, cancel := await.WithGrace(ctx, HangTimeout)
	defer cancel()
	value, inTime, err := await.InTime(later, call, nil)
	if !inTime {
		if err = context.Cause(ctx); errors.Is(err, context.DeadlineExceeded) {
			return value, signer.WithHint(fmt.Errorf("%s: %w: it hangs: %w", what, signer.ErrUnavailable, err),
				"reconnect the device or restart its service, such as pcscd")
		}
		err = signer.WithHint(fmt.Errorf("%s: the device hangs: %w", what, err),
			"interrupted; before you run the command again, reconnect the device or restart its service, such as pcscd")
	}
	return value, err
}
