package keys

import (
	"context"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/internal/await"
)

// deviceTimeout is how long a device may take for a command, without the time of
// prompts. Some TPMs need more than a minute for an RSA key.
const deviceTimeout = 4 * time.Minute

// onDevice returns the result of call, whose context ends after the timeout. what
// names the key or the store in the error about a device that hangs.
func onDevice[T any](ctx context.Context, timeout time.Duration, what string, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := await.Limit(ctx, timeout)
	defer cancel()
	return front.InterruptibleValue(ctx, what, func() (T, error) { return call(ctx) })
}
