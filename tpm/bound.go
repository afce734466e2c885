package tpm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// grace is how long a call may take after its context ends, for example to restore a
// terminal.
const grace = 100 * time.Millisecond

// bounded returns the result of f, which uses the TPM at path, or an error soon after
// ctx ends. f then continues in its goroutine: a command that the TPM executes has
// cancelGrace to complete, and what it left in the TPM is flushed. late gets the result
// of its success; nil: drop it.
func bounded[T any](ctx context.Context, path string, f func() (T, error), late func(T)) (none T, _ error) {
	switch {
	case ctx.Done() == nil:
		return f()
	case ctx.Err() != nil:
		return none, context.Cause(ctx)
	}
	value, inTime, err := await.InGrace(ctx, grace, f, late)
	if inTime {
		return value, err
	}
	name := deviceName(path)
	err = &noResponseError{name, err}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", signer.ErrUnavailable, err)
	}
	return none, signer.WithHint(err, hintMute(name))
}

// deviceName names the device at path in errors.
func deviceName(path string) string { return cmp.Or(path, "the TPM of the machine") }

func hintMute(name string) string {
	return "end a program that uses " + name + ", or restart what it belongs to; device= in the reference or " + deviceVariable + " selects another TPM"
}
