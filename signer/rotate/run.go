package rotate

import (
	"context"
	"time"

	"github.com/holdfast-dev/holdfast/internal/filestate"
	"github.com/holdfast-dev/holdfast/signer"
)

const (
	watchEvery = 2 * time.Second
	// watchRetry is when files that could not be loaded are tried again
	// though they did not change: the reason may have been another one.
	watchRetry = time.Minute
)

// RequestReload has Run reload the key soon. It never blocks, and may be called
// before Run. Several requests before a reload begins become one.
func (i *Identity) RequestReload() {
	select {
	case i.requests <- struct{}{}:
	default: // one is about to begin
	}
}

// Run reloads the key on request, and whenever one of the files is not as it was
// when the key was opened and has then stood still for some seconds, until ctx
// ends or the Identity is closed. It returns ctx's error or [signer.ErrClosed].
// At most one Run is under way at a time.
func (i *Identity) Run(ctx context.Context) error {
	var seen filestate.State
	var tried struct { // the last attempt, if it failed
		files filestate.State
		at    time.Time
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		requested := false
		select {
		case <-tick.C:
		case <-i.requests:
			requested = true
		case <-ctx.Done():
			return ctx.Err()
		case <-i.ended.Done():
			return signer.ErrClosed
		}
		now := filestate.Of(i.config.Files...)
		still := now.Equal(seen)
		seen = now
		switch {
		case requested:
		case !still || now.Equal(i.files()):
			continue
		case !tried.at.IsZero() && now.Equal(tried.files) && (time.Since(tried.at) < watchRetry || i.isRefused()):
			continue
		}
		if i.Reload(ctx) != nil {
			tried.files, tried.at = now, time.Now()
			continue
		}
		tried.at = time.Time{}
		if i.config.Reloaded != nil {
			i.config.Reloaded(ctx)
		}
	}
}

// files returns the state in which the key that is in use was opened.
func (i *Identity) files() filestate.State {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current.files
}

func (i *Identity) isRefused() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.refused != nil
}
