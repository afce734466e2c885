package credentials

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/logging"
)

// A Cache keeps the credentials of a Source in memory and renews them before
// they expire. It is a [Source] itself. Its fields must not be changed after
// the first use. Its methods are safe for concurrent use.
//
// Only one renewal is in progress at a time, and all callers share it. It
// continues if the callers stop waiting, but is canceled at the end of Run.
// Callers do not wait while credentials are valid; a failed renewal keeps them.
// The Cache never returns incomplete or expired credentials.
//
// Credentials are valid as long as the wall clock says so, because clients use
// it, and no longer than their lifetime since they were obtained, because AWS
// uses that. Other times, such as the delay after a failure, use the monotonic
// clock, so that changes of the wall clock do not affect them.
type Cache struct {
	Source Source

	// Window is how long before their expiry credentials are renewed at the
	// latest; at most a third of their lifetime. 0: 15 % of their lifetime,
	// but not less than 15 minutes or a third of it, whichever is shorter.
	// They are renewed at a random time up to 35 % of their lifetime before
	// that, so that machines that started together do not renew together.
	Window time.Duration

	// Timeout limits the time of a renewal; 0: two minutes. Callers wait no
	// longer even if the Source ignores its context, but the Source is not
	// called again before it has returned.
	Timeout time.Duration

	// Renewed, unless nil, is called after each renewal, when the Source
	// has returned: with the new credentials, or with an error and no
	// credentials. Waiting callers continue before that. The calls do not
	// overlap and are in the order of the renewals. Neither the next
	// renewal nor callers wait for them. Renewed may call methods of the
	// Cache.
	Renewed func(Credentials, error)

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now

	mu       sync.Mutex
	current  Credentials
	obtained time.Time     // when current was obtained, with a monotonic reading
	lifetime time.Duration // of current, when it was obtained
	due      time.Time     // when to renew current, by the wall clock
	dueAfter time.Duration // when to renew current, relative to obtained

	renewalDone   chan struct{}      // closed to wake waiting callers; nil: no caller needs to wait
	renewing      bool               // the Source has not returned yet, even after a timeout
	startedAt     time.Time          // when the last renewal started
	cancelRenewal context.CancelFunc // of the last renewal
	runCtx        context.Context    // of the last Run; nil: Run was not called
	failures      int                // since current was obtained
	retryAt       time.Time          // do not call the Source before
	lastErr       error              // of the last renewal; nil if it succeeded
	lastAt        time.Time          // when the last renewal succeeded or failed, by the wall clock

	renewals, failedRenewals int      // started, and of these failed
	pending                  []result // for Renewed
	notifying                bool     // a call of Renewed is in progress
}

// A result is the result of one renewal.
type result struct {
	creds Credentials
	err   error
}

// ErrNotReady is the error of [Cache.Current] while there are no valid
// credentials and the last renewal has not failed.
var ErrNotReady = errors.New("no valid credentials are available yet")

const (
	defaultTimeout = 2 * time.Minute
	minRetryDelay  = time.Second
	maxRetryDelay  = time.Minute

	// clientWindow is how long before the expiry the first clients ask again:
	// botocore. Until then they should find new credentials.
	clientWindow = 15 * time.Minute

	// spreadPercent is the part of the lifetime over which renewals are
	// spread. With less, a fleet that started together still asks in waves
	// an hour later: see docs/fleet.md.
	spreadPercent = 35

	// hangTimeout is how long to wait for a Source after its context has
	// ended.
	hangTimeout = 5 * time.Second

	// maxSleep limits the pauses of Run, because a change of the wall clock
	// or a suspended machine changes the remaining validity of credentials.
	maxSleep = 10 * time.Second
)

// Credentials implements [Source]. It waits for a renewal, at most until ctx
// ends, but only if there are no valid credentials. During the delay after a
// failed renewal it returns the error of that renewal immediately.
func (c *Cache) Credentials(ctx context.Context) (Credentials, error) {
	for {
		creds, wait, err := c.get(ctx)
		if wait == nil {
			return creds, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return Credentials{}, fmt.Errorf("waiting for credentials: %w", ctx.Err())
		}
	}
}

// Current returns the current credentials without waiting, and starts a renewal
// if it is due. If there are no valid credentials, it returns the error of the
// last renewal, or [ErrNotReady] if that renewal did not fail.
func (c *Cache) Current(ctx context.Context) (Credentials, error) {
	creds, _, err := c.get(ctx)
	return creds, err
}

// Retry ends the delay after a failed renewal, for example because the cause
// was fixed, and starts a renewal if it is due. The renewal continues after ctx
// has ended.
func (c *Cache) Retry(ctx context.Context) {
	c.mu.Lock()
	if c.lastErr != nil {
		c.retryAt = time.Time{}
	}
	c.mu.Unlock()
	_, _, _ = c.get(ctx)
}

// Discard removes the current credentials if they have this access key ID, for example
// because AWS does not accept them although they have not expired. The next call of
// another method obtains new ones.
func (c *Cache) Discard(accessKeyID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current.AccessKeyID == accessKeyID {
		c.current = Credentials{}
	}
}

// get returns valid credentials or an error. With an error, it also returns a
// channel to wait for the renewal in progress, if there is one.
func (c *Cache) get(ctx context.Context) (Credentials, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	valid := c.isValid(now)
	stopped := c.runCtx != nil && c.runCtx.Err() != nil
	if !c.renewing && !stopped && !time.Now().Before(c.retryAt) && (!valid || c.isDue(now)) {
		c.startRenewal(ctx)
	}
	switch {
	case valid:
		return c.current, nil, nil
	case c.lastErr != nil:
		return Credentials{}, c.renewalDone, c.lastErr
	case stopped:
		return Credentials{}, c.renewalDone, fmt.Errorf("renewal of credentials has stopped: %w", context.Cause(c.runCtx))
	}
	return Credentials{}, c.renewalDone, ErrNotReady
}

// isDue reports whether current must be renewed. It also uses the time since
// current was obtained, so that a wall clock that was set back does not delay
// the renewal.
func (c *Cache) isDue(now time.Time) bool {
	return !now.Before(c.due) || time.Since(c.obtained) >= c.dueAfter
}

func (c *Cache) isValid(now time.Time) bool {
	return c.current.Check(now) == nil && time.Since(c.obtained) < c.lifetime
}

// startRenewal starts a renewal. It is not canceled with ctx, because other
// callers may wait for it.
func (c *Cache) startRenewal(ctx context.Context) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	done := make(chan struct{})
	c.renewalDone, c.renewing, c.startedAt = done, true, time.Now()
	c.renewals++
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	c.cancelRenewal = cancel
	timer := time.AfterFunc(timeout+hangTimeout, func() { c.timeOut(done, timeout) })
	go func() {
		creds, err := c.Source.Credentials(ctx)
		timer.Stop()
		cancel()
		c.endRenewal(creds, err)
	}()
}

// timeOut ends the wait for a renewal. The renewal itself continues.
func (c *Cache) timeOut(renewal chan struct{}, timeout time.Duration) {
	c.mu.Lock()
	log := func() {}
	if c.renewalDone == renewal {
		log = c.recordFailure(fmt.Errorf("no credentials within %v: %w", timeout, context.DeadlineExceeded))
		c.wakeWaiters()
	}
	c.mu.Unlock()
	log()
}

func (c *Cache) endRenewal(creds Credentials, err error) {
	c.mu.Lock()
	now := c.now()
	if err == nil {
		err = creds.Check(now)
	}
	var log func()
	if err != nil {
		c.failedRenewals++
		log = c.recordFailure(err)
		c.pending = append(c.pending, result{err: err})
	} else {
		log = c.recordSuccess(creds, now)
		c.pending = append(c.pending, result{creds: c.current})
	}
	c.renewing = false
	c.wakeWaiters()
	c.mu.Unlock()
	c.callRenewed()
	log() // without the lock, because the log may block
}

// callRenewed calls Renewed for all pending results, unless another goroutine
// is doing so.
func (c *Cache) callRenewed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.notifying && len(c.pending) > 0 {
		r := c.pending[0]
		c.pending = c.pending[1:]
		if c.Renewed == nil {
			continue
		}
		func() {
			c.notifying = true
			c.mu.Unlock()
			defer func() { // even if Renewed panics or ends its goroutine
				c.mu.Lock()
				c.notifying = false
			}()
			c.Renewed(r.creds, r.err)
		}()
	}
}

// wakeWaiters wakes the callers that wait for a renewal.
func (c *Cache) wakeWaiters() {
	if c.renewalDone != nil {
		close(c.renewalDone)
		c.renewalDone = nil
	}
}

// recordFailure sets the error and the delay before the next renewal. The
// caller holds c.mu and calls log after releasing it.
func (c *Cache) recordFailure(err error) (log func()) {
	pause := min(minRetryDelay<<min(c.failures, 10), maxRetryDelay)
	pause = pause/2 + rand.N(pause/2)
	c.failures++
	c.lastErr, c.lastAt, c.retryAt = err, c.now(), time.Now().Add(pause)
	args := []any{"error", err, "failures", c.failures, "retry_in", pause.Round(time.Millisecond)}
	if now := c.now(); c.isValid(now) {
		args = append(args, "valid_for", c.current.Expires.Sub(now).Round(time.Second))
	}
	level := slog.LevelWarn
	if errors.Is(err, context.Canceled) { // the program is shutting down
		level = slog.LevelDebug
	}
	text := "credentials were not renewed"
	if c.obtained.IsZero() {
		text = "credentials were not obtained"
	}
	return func() { c.logger().Log(context.Background(), level, text, args...) }
}

// recordSuccess makes creds current. The caller holds c.mu and calls log after
// releasing it.
func (c *Cache) recordSuccess(creds Credentials, now time.Time) (log func()) {
	creds.Expires = creds.Expires.Round(0) // remove the monotonic reading
	life := creds.Expires.Sub(now)
	text := "credentials were renewed"
	if c.obtained.IsZero() {
		text = "credentials were obtained"
	}
	window := c.latest(life) + rand.N(life*spreadPercent/100+1)
	c.current, c.obtained, c.lifetime = creds, time.Now(), life
	c.due, c.dueAfter = creds.Expires.Add(-window), life-window
	c.failures, c.lastErr, c.lastAt, c.retryAt = 0, nil, now, time.Time{}
	if c.dueAfter < minRetryDelay { // for example because the clock is ahead: limit the rate of renewals
		c.retryAt = c.obtained.Add(minRetryDelay)
	}
	next := c.due.UTC().Format(time.RFC3339)
	return func() { c.logger().Info(text, "credentials", creds, "next", next) }
}

// latest returns how long before their expiry credentials with the given
// lifetime are renewed at the latest.
func (c *Cache) latest(life time.Duration) time.Duration {
	if c.Window > 0 {
		return min(c.Window, life/3)
	}
	return max(life*15/100, min(clientWindow, life/3))
}

// Run renews credentials when they are due, even without callers, until ctx
// ends. It returns ctx.Err().
//
// When ctx ends, Run cancels the renewal in progress, even if a caller of
// another method started it, and does not wait for it. No further renewal
// starts. The Cache still returns valid credentials. Run must not be called
// concurrently, but may be called again after it has returned.
func (c *Cache) Run(ctx context.Context) error {
	c.mu.Lock()
	c.runCtx = ctx
	c.mu.Unlock()
	for ctx.Err() == nil {
		_, _, _ = c.get(ctx)
		wait, pause := c.nextCheck()
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-wait:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.renewing {
		c.cancelRenewal()
	}
	return ctx.Err()
}

// nextCheck returns a channel and a pause; Run checks again after either.
func (c *Cache) nextCheck() (renewal <-chan struct{}, pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.renewing {
		return c.renewalDone, maxSleep
	}
	return nil, min(max(c.untilNext(c.now()), time.Millisecond), maxSleep)
}

// untilNext returns how long it is until the next renewal; a negative duration if it is
// due.
func (c *Cache) untilNext(now time.Time) time.Duration {
	return max(c.due.Sub(now), time.Until(c.retryAt))
}

// A Status describes the state of a Cache.
type Status struct {
	Expires  time.Time     // expiry of the current credentials; zero: there are no valid ones
	Renewing time.Duration // how long a renewal has been in progress; 0: none is
	Failures int           // failed renewals since the last successful one
	Err      error         // of the last renewal; nil if it succeeded
	Last     time.Time     // when the last renewal succeeded or failed; zero: none has yet
	Next     time.Time     // when the next renewal is due; not after now: a renewal is due

	Renewals       int // renewals started so far
	FailedRenewals int // of these, renewals that ended with an error
}

// Status returns the state of c.
func (c *Cache) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	s := Status{
		Failures: c.failures, Err: c.lastErr, Last: c.lastAt, Next: now.Add(max(0, c.untilNext(now))),
		Renewals: c.renewals, FailedRenewals: c.failedRenewals,
	}
	if c.isValid(now) {
		s.Expires = c.current.Expires
	}
	if c.renewing {
		s.Renewing = time.Since(c.startedAt)
	}
	return s
}

func (c *Cache) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c *Cache) logger() *slog.Logger { return logging.OrDiscard(c.Logger) }
