package sshagent

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
)

// wallCheck is how often the agent looks at the wall clock: timers stand still while the
// machine sleeps.
const wallCheck = time.Minute

var errEnded = errors.New("the lifetime of the keys has ended")

// setLifetime makes the keys end after d. It is called before the agent serves.
func (a *agent) setLifetime(d time.Duration) {
	a.until = a.now().Round(0).Add(d) // without the clock of timers
}

// over reports whether the lifetime has ended by the wall clock.
func (a *agent) over() bool { return !a.until.IsZero() && !a.now().Round(0).Before(a.until) }

// expire forgets the keys after d, or when the wall clock says so, whichever is first, and
// returns true. If ctx ends before that, it returns false.
func (a *agent) expire(ctx context.Context, d time.Duration) bool {
	for begin := time.Now(); !a.over(); {
		left := d - time.Since(begin)
		if left <= 0 {
			break
		}
		if await.Pause(ctx, min(left, wallCheck)) != nil {
			return false
		}
	}
	a.log.Debug("the lifetime of the keys ended")
	a.forget()
	return true
}

// check returns an error if the agent does not have the key of id any more.
func (a *agent) check(id identity) error {
	if _, ok := a.find(id.Blob); !ok {
		return errEnded
	}
	return nil
}
