package rotate

import (
	"errors"
	"time"

	"github.com/holdfast-dev/holdfast/internal/filestate"
	"github.com/holdfast-dev/holdfast/signer"
)

// A refusal is the error of the last attempt to open the key, or of the last
// signature, if it failed because of the PIN. Nothing but a request or a change
// repeats an attempt that the device has counted.
type refusal struct {
	err     error           // nil: the PIN was not refused
	pins    filestate.State // Config.PINFiles before the attempt
	signing bool            // a signature was refused, not an attempt to open the key
}

// counted reports whether the device has counted the attempt as a try.
func (r refusal) counted() bool { return errors.Is(r.err, signer.ErrTryCounted) }

// refusalOf returns the refusal in err, which can be nil.
func refusalOf(err error, pins filestate.State) refusal {
	for _, target := range []error{signer.ErrTryCounted, signer.ErrPINIncorrect, signer.ErrPINLocked} {
		if errors.Is(err, target) {
			return refusal{err: err, pins: pins}
		}
	}
	return refusal{}
}

// standingRefusal returns the error of a refusal that an attempt now would
// repeat, or nil: the files of the PIN are as they were.
func (i *Identity) standingRefusal() error {
	i.mu.Lock()
	r := i.refused
	i.mu.Unlock()
	if r.err == nil || len(i.config.PINFiles) > 0 && !filestate.Of(i.config.PINFiles...).Equal(r.pins) {
		return nil
	}
	return r.err
}

// pinCorrected reports whether the PIN was refused and its files have changed
// since then.
func (i *Identity) pinCorrected() bool {
	i.mu.Lock()
	refused := i.refused.err != nil
	i.mu.Unlock()
	return refused && i.standingRefusal() == nil
}

// signed records the result of a signature with g. A PIN that a device refused
// for a signature must not be tried again by opening the key.
func (i *Identity) signed(g *generation, err error) {
	i.mu.Lock()
	was := i.refused
	i.mu.Unlock()
	refused := errors.Is(err, signer.ErrTryCounted)
	if !refused && (err != nil || !was.signing) {
		return
	}
	now := refusal{}
	if refused {
		now = refusal{err, filestate.Of(i.config.PINFiles...), true}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if g == i.current && (refused || i.refused.signing) {
		i.refused = now
	}
}

// A failure is the last attempt to reload the key, if it failed.
type failure struct {
	files filestate.State // Config.Files before the attempt
	at    time.Time       // zero: it did not fail
}

func (i *Identity) setFailed(files filestate.State) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failed = failure{files, time.Now()}
}

// mayReload reports whether Run may reload the key although nobody asked for it,
// because Config.Files, whose state is now, have changed.
func (i *Identity) mayReload(now filestate.State) bool {
	i.mu.Lock()
	failed, refused := i.failed, i.refused
	i.mu.Unlock()
	standing := i.standingRefusal() != nil
	switch {
	case standing && refused.counted():
		return false
	case failed.at.IsZero() || !now.Equal(failed.files):
		return true
	}
	return !standing && time.Since(failed.at) >= watchRetryInterval || refused.err != nil && !standing
}
