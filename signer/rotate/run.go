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
// time the key was opened and has then not changed for some seconds. If the PIN
// was refused, it does the same when one of Config.PINFiles changes. It returns
// ctx.Err() when ctx ends and [signer.ErrClosed] when the Identity is closed.
// Run must not be called concurrently.
func (i *Identity) Run(ctx context.Context) error {
	var seen, seenPINs, triedPINs filestate.State
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
		pins := filestate.Of(i.config.PINFiles...)
		stable := now.Equal(seen) && pins.Equal(seenPINs)
		seen, seenPINs = now, pins
		switch {
		case requested:
		case !stable:
			continue
		case i.pinCorrected() && !pins.Equal(triedPINs):
			triedPINs = pins
		case now.Equal(i.files()) || !i.mayReload(now):
			continue
		}
		if i.Reload(ctx) != nil {
			i.setFailed(now)
			continue
		}
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
