package front

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// A call that ignores its context is abandoned soon after the context ends. The
// result of a call that returns is passed on.
func TestInterruptible(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	never := make(chan struct{})
	defer close(never)
	entered := make(chan struct{})
	go func() {
		<-entered
		cancel()
	}()
	begin := time.Now()
	_, err := InterruptibleValue(ctx, "the key", func() (int, error) {
		close(entered)
		<-never
		return 0, nil
	})
	if took := time.Since(begin); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "the key: ") || took > 20*HangTimeout {
		t.Errorf("error %v after %v", err, took)
	}
	if n, err := InterruptibleValue(ctx, "the key", func() (int, error) { return 7, nil }); n != 7 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}
