package file

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// grace is how long a call may take after its context ends, for example to restore a
// terminal.
const grace = 100 * time.Millisecond

// bounded returns the result of f, or an error soon after ctx ends. A key derivation or
// the generation of a key is not interrupted: f then continues in its goroutine, for
// seconds at most. late gets the result of its success; nil: drop it.
func bounded[T any](ctx context.Context, f func() (T, error), late func(T)) (none T, _ error) {
	switch {
	case ctx.Done() == nil:
		return f()
	case ctx.Err() != nil:
		return none, context.Cause(ctx)
	}
	value, inTime, err := await.InGrace(ctx, grace, f, late)
	if !inTime {
		err = signer.WithHint(fmt.Errorf("the key was not ready in time: %w", err),
			"allow more time; if the password of a file is protected with many iterations, encrypt the key again: openssl pkcs8 -topk8 -iter 600000 -in FILE -out FILE.converted.pem")
	}
	return value, err
}
