package winstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// lastSignature bounds the wait of Close for a signature in progress.
const lastSignature = 5 * time.Second

// bounded returns the result of f, or an error when ctx ends. Nothing interrupts a call
// of Windows: f then continues in its goroutine. late gets the result of its success;
// nil: drop it.
func bounded[T any](ctx context.Context, f func() (T, error), late func(T)) (none T, _ error) {
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	value, inTime, err := await.InTime(ctx, f, late)
	if !inTime {
		err = muteError(err)
	}
	return value, err
}

// muteError says that Windows did not respond before a context ended because of cause.
func muteError(cause error) error {
	err := fmt.Errorf("no response from Windows: %w", cause)
	if errors.Is(cause, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", signer.ErrUnavailable, err)
	}
	return signer.WithHint(err, "answer the dialog of Windows, if there is one, or allow more time; reconnect a card, or restart the services of keys: Restart-Service SCardSvr, KeyIso")
}
