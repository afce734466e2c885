package rotate

import (
	"context"
	"errors"
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

	firstRepeat = time.Second // until a requested reload that failed is repeated
)

// RequestReload makes Run reload the key soon. It never blocks and may be
// called before Run. Requests made before a reload begins are merged into one.
// If the reload fails, Run repeats it after 1 second, then 2, and so on, up to a
// minute, until a reload succeeds. It does not repeat one that failed because of
// the PIN.
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
	repeat := newRepeat(i)
	defer repeat.timer.Stop()
	for {
		requested := false
		select {
		case <-tick.C:
		case <-i.requests:
			requested = true
			repeat.begin()
		case <-repeat.timer.C:
			if requested = repeat.wanted(); !requested {
				continue
			}
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
		if err := i.Reload(ctx); err != nil {
			i.setFailed(now)
			if requested {
				repeat.failed(err)
			}
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

// A repeat is a requested reload that is repeated until it succeeds.
type repeat struct {
	identity *Identity
	timer    *time.Timer // stopped, unless the reload has failed
	pause    time.Duration
	reloads  int // Stats.Reloads at the time of the request
}

func newRepeat(i *Identity) *repeat {
	r := &repeat{identity: i, timer: time.NewTimer(watchRetryInterval)}
	r.timer.Stop()
	return r
}

// begin is called for each request.
func (r *repeat) begin() {
	r.timer.Stop()
	r.pause, r.reloads = firstRepeat, r.identity.Stats().Reloads
}

// failed is called after each failed attempt.
func (r *repeat) failed(err error) {
	if errors.Is(err, signer.ErrPINRequired) || r.identity.standingRefusal() != nil {
		return
	}
	r.timer.Reset(r.pause)
	r.pause = min(2*r.pause, watchRetryInterval)
}

// wanted reports whether the reload must be repeated: no other one has succeeded since
// the request, and no PIN was refused.
func (r *repeat) wanted() bool {
	return r.identity.Stats().Reloads == r.reloads && r.identity.standingRefusal() == nil
}
