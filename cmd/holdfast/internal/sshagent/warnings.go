package sshagent

import (
	"sync"
	"time"
)

const (
	// maxWarnings is how many warnings clients can cause within warningsPeriod, so that
	// they cannot fill the log. A person causes fewer.
	maxWarnings    = 30
	warningsPeriod = time.Minute
)

// warnings counts the warnings that clients have caused. It is safe for concurrent use.
type warnings struct {
	mu    sync.Mutex
	since time.Time
	count int
}

// next reports whether a warning at a time may be logged, and whether it is the last one
// of its period.
func (w *warnings) next(now time.Time) (ok, last bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.since.IsZero() || now.Sub(w.since) >= warningsPeriod {
		w.since, w.count = now, 0
	}
	if w.count >= maxWarnings {
		return false, false
	}
	w.count++
	return true, w.count == maxWarnings
}

// warn logs a warning that a client has caused.
func (a *agent) warn(message string, args ...any) {
	ok, last := a.warnings.next(time.Now())
	if ok {
		a.log.Warn(message, args...)
	}
	if last {
		a.log.Warn("further warnings about clients are left out for a while", "after", maxWarnings, "period", warningsPeriod)
	}
}
