package rotate

import (
	"context"
	"time"

	"github.com/holdfast-dev/holdfast/internal/filestate"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	watchInterval = 2 * time.Second
	// watchRetryInterval is the time between attempts to load files that
	// have not changed since an attempt failed. The cause may be outside
	// the files.
	watchRetryInterval = time.Minute
)

// RequestReload makes Run reload the key soon. It never blocks and may be
// called before Run. Requests made before a reload begins are merged into one.
func (i *Identity) RequestReload() {
	select {
	case i.requests <- struct{}{}:
	default: // a request is pending
	}
}

// Run reloads the key on request, and when a file differs from its state at the
// time the key was opened and has then not changed for some seconds. It returns
// ctx.Err() when ctx ends and [signer.ErrClosed] when the Identity is closed.
// Run must not be called concurrently.
func (i *Identity) Run(ctx context.Context) error {
	var seen filestate.State
	var failed struct { // the last attempt, if it failed
		files filestate.State
		at    time.Time
	}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		requested := false
		select {
		case <-tick.C:
		case <-i.requests:
			requested = true
		case <-ctx.Done():
			return ctx.Err()
		case <-i.done.Done():
			return signer.ErrClosed
		}
		now := filestate.Of(i.config.Files...)
		stable := now.Equal(seen)
		seen = now
		switch {
		case requested:
		case !stable || now.Equal(i.files()):
			continue
		case !failed.at.IsZero() && now.Equal(failed.files) && (time.Since(failed.at) < watchRetryInterval || i.hasPINError()):
			continue
		}
		if i.Reload(ctx) != nil {
			failed.files, failed.at = now, time.Now()
			continue
		}
		failed.at = time.Time{}
		if i.config.Reloaded != nil {
			i.config.Reloaded(ctx)
		}
	}
}

// files returns the state of the files before the current key was opened.
func (i *Identity) files() filestate.State {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current.files
}

func (i *Identity) hasPINError() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.pinErr != nil
}
