package keys

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// A device that ignores the end of the context does not keep the command.
func TestOnDevice(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	_, err := onDevice(t.Context(), time.Millisecond, "the key", func(context.Context) (int, error) {
		<-release
		return 0, nil
	})
	if !errors.Is(err, signer.ErrUnavailable) || !strings.HasPrefix(err.Error(), "the key: ") || signer.Hint(err) == "" {
		t.Errorf("error %v, hint %q", err, signer.Hint(err))
	}
	got, err := onDevice(t.Context(), deviceTimeout, "the key", func(ctx context.Context) (int, error) { return 7, ctx.Err() })
	if got != 7 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}
