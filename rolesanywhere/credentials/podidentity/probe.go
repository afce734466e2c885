package podidentity

import (
	"context"
	"time"

	"github.com/holdfast-dev/holdfast/internal/logging"
)

// probe is what [Reviewer.Probe] sends. It is not a JWT, so no issuer has signed it.
const probe = "holdfast-probe"

// Probe lets the API server review a text that is not a token. It returns nil if the API
// server answers, and otherwise the error that reviews of tokens would have, too.
func (r *Reviewer) Probe(ctx context.Context) error {
	if err := r.Check(); err != nil {
		return err
	}
	limited, cancel := r.limit(ctx)
	defer cancel()
	_, err := r.request(limited, probe)
	if isRefusal(err) {
		err = nil
	}
	if ctx.Err() == nil {
		r.log(err)
	}
	return err
}

// A ReviewerStatus describes what a [Reviewer] has done.
type ReviewerStatus struct {
	Requests int   // to the API server
	Failures int   // how many of them had another result than a pod or a refusal
	Worked   bool  // a request did not fail
	Err      error // of the last request, if it failed
}

// Status returns the state as it is now.
func (r *Reviewer) Status() ReviewerStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// record counts a request to the API server.
func (r *Reviewer) record(err error) {
	if isRefusal(err) {
		err = nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Requests++
	r.status.Err = err
	if err != nil {
		r.status.Failures++
	} else {
		r.status.Worked = true
	}
}

// log logs the first failure and the end of failures, but not each change if they
// alternate. Refusals are no failures.
func (r *Reviewer) log(err error) {
	failing := err != nil && !isRefusal(err)
	r.mu.Lock()
	changed := failing != r.failing && (!failing || time.Since(r.failed) >= logPause)
	if changed {
		r.failing = failing
	}
	if changed && failing {
		r.failed = time.Now()
	}
	r.mu.Unlock()
	log := logging.OrDiscard(r.Logger)
	switch {
	case failing && changed:
		log.Warn("tokens of pods cannot be reviewed", "error", err)
	case failing:
		log.Debug("tokens of pods cannot be reviewed", "error", err)
	case changed:
		log.Info("tokens of pods can be reviewed again")
	}
}
