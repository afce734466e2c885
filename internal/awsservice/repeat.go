// Package awsservice has what the calls of the APIs of AWS have in common:
// endpoints, retries, the treatment of a wrong clock, and errors about responses
// that are missing or invalid.
package awsservice

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
)

// The delay before an attempt doubles from InitialDelay to at most MaxDelay.
const (
	InitialDelay = 200 * time.Millisecond
	MaxDelay     = 3 * time.Second
)

const (
	// minAttemptTime is the minimum time that must be left for another
	// attempt.
	minAttemptTime = 2 * time.Second

	// maxSkew is the difference of the clocks above which an error response
	// is attributed to it. The service tolerates some minutes.
	maxSkew = time.Minute
)

// A Repeat repeats a call.
type Repeat struct {
	MaxAttempts int // at least 1
	Logger      *slog.Logger
	Pause       func(ctx context.Context, d time.Duration) error
}

// A clockError is an error response that a wrong local clock can explain, if
// ClockSkew does not return 0. It returns the service's time minus the local
// time.
type clockError interface {
	error
	ClockSkew() time.Duration
}

// Do calls attempt until it returns credentials or a permanent error, or until
// no time or attempt is left. offset is the service's time minus the local time,
// as far as it is known.
func (r Repeat) Do(ctx context.Context, attempt func(offset time.Duration) (credentials.Credentials, error)) (credentials.Credentials, error) {
	var offset time.Duration
	for n := 1; ; n++ {
		creds, err := attempt(offset)
		if err == nil {
			// If the local clock is behind, credentials must not
			// look valid after they have expired.
			creds.Expires = creds.Expires.Add(-max(offset, 0))
			return creds, nil
		}
		var clock clockError
		if errors.As(err, &clock) && offset == 0 && clock.ClockSkew() != 0 && n < r.MaxAttempts {
			offset = clock.ClockSkew()
			r.Logger.Debug("signing again with the service's time", "offset", offset.Round(time.Second))
			continue
		}
		var t *transient
		if n >= r.MaxAttempts || !errors.As(err, &t) {
			return credentials.Credentials{}, err
		}
		wait := max(t.after, jitter(n))
		if left, ok := timeLeft(ctx); ok && left < wait+minAttemptTime {
			return credentials.Credentials{}, err
		}
		r.Logger.Debug("retrying", "attempt", n, "wait", wait.Round(time.Millisecond), "error", err)
		if r.Pause(ctx, wait) != nil {
			return credentials.Credentials{}, err
		}
	}
}

// timeLeft returns how much time the timeout and the caller's deadline leave.
func timeLeft(ctx context.Context) (left time.Duration, ok bool) {
	left, ok = await.Left(ctx)
	if deadline, has := ctx.Deadline(); has && (!ok || time.Until(deadline) < left) {
		return time.Until(deadline), true
	}
	return left, ok
}

// jitter returns a random delay from a range that doubles with each attempt, so
// that many machines do not retry at the same time.
func jitter(attempt int) time.Duration {
	limit := min(InitialDelay<<min(attempt-1, 10), MaxDelay) // a larger shift could overflow
	return limit/2 + rand.N(limit)
}

// A transient error may go away by itself.
type transient struct {
	err   error
	after time.Duration // from Retry-After; 0 if the service did not set it
}

func (t *transient) Error() string { return t.err.Error() }
func (t *transient) Unwrap() error { return t.err }

// MayRetry returns err, the error of the error response resp with this code. It
// marks it for [Repeat.Do] if a retry may help.
func MayRetry(resp *http.Response, code string, err error) error {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode < 500 && !strings.HasPrefix(code, "Throttling") {
		return err
	}
	var after time.Duration
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		after = time.Duration(min(s, 3600)) * time.Second
	}
	return &transient{err, after}
}

// Skew returns the time of a response minus now. ok is false if the response has
// no time.
func Skew(resp *http.Response, now time.Time) (skew time.Duration, ok bool) {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, false
	}
	return date.Sub(now), true
}

// RefusesTime reports whether skew can explain an error response.
func RefusesTime(status int, skew time.Duration) bool {
	return (status == http.StatusForbidden || status == http.StatusBadRequest || status == http.StatusUnauthorized) && skew.Abs() > maxSkew
}
