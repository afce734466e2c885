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

// A Cache keeps the credentials of a Source in memory and renews them ahead of
// need. It is itself a [Source]. Its fields are not changed after the first use;
// its methods are safe for concurrent use.
//
// One renewal is under way at a time, whoever waits for it; it goes on when
// those that wait give up, but not after the end of Run. While credentials are valid nobody waits: a renewal
// that fails leaves them in place. Credentials that are blank or expired are
// never given out.
//
// Whether credentials are valid is said by the clock, since clients go by it,
// and by the time that passed since they came, since AWS does. All else, such
// as the pause after a failure, goes by the time that passes alone, which no
// setting of the clock changes.
type Cache struct {
	Source Source

	// Window is how long before their end credentials are renewed; 0: 20
	// minutes. Those that live less than three times as long are renewed in
	// the last third of their life.
	Window time.Duration

	// Timeout bounds a renewal; 0: two minutes. A Source that does not heed
	// its context is waited for no longer either, but is not called again
	// before it returned.
	Timeout time.Duration

	// Renewed, unless nil, is called after each renewal, once the Source
	// returned: with the credentials that are given out from then on, or with
	// an error and none. Those that wait are told before. Calls never overlap,
	// and come in the order of the renewals; neither the next renewal nor
	// anybody who asks for credentials waits for them. Renewed may call the
	// methods of the Cache.
	Renewed func(Credentials, error)

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now

	mu      sync.Mutex
	current Credentials
	born    time.Time     // when current came, by the time that passes
	life    time.Duration // of current, when it came
	due     time.Time     // when current is to be renewed, by the clock
	young   time.Duration // how long after born that was

	renewal  chan struct{}      // closed when those that wait are told; nil: none is waited for
	busy     bool               // the Source is at work, waited for or not
	since    time.Time          // when it began
	cancel   context.CancelFunc // of the last renewal
	run      context.Context    // of the last Run; nil: there was none
	failures int                // since current came
	retry    time.Time          // the Source is not called before
	err      error              // of the last renewal, if it failed

	begun, failed int      // renewals
	ended         []result // for Renewed
	telling       bool     // Renewed is called
}

// A result is that of one renewal.
type result struct {
	creds Credentials
	err   error
}

// ErrNotReady is the error of [Cache.Current] while there is nothing valid and
// no renewal has failed.
var ErrNotReady = errors.New("there are no valid credentials yet")

const (
	defaultWindow  = 20 * time.Minute
	defaultTimeout = 2 * time.Minute
	firstRetry     = time.Second
	lastRetry      = time.Minute

	// grace is how long after the end of its time a Source may take to say so.
	grace = 5 * time.Second

	// glance bounds how long Run looks away: a clock that is set or a
	// machine that sleeps moves the time at which credentials end.
	glance = 10 * time.Second
)

// Credentials implements [Source]. It waits only if nothing valid is there, for
// a renewal and no longer than ctx. Soon after one that failed its error is
// returned at once.
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

// Current returns what is there without waiting, and has it renewed if that is
// due. If nothing valid is there, its error is that of the last renewal, or
// [ErrNotReady] if that did not fail.
func (c *Cache) Current(ctx context.Context) (Credentials, error) {
	creds, _, err := c.get(ctx)
	return creds, err
}

// Retry ends the pause after a renewal that failed, whose reason may be gone.
// What is due is renewed at once, and goes on after ctx has ended.
func (c *Cache) Retry(ctx context.Context) {
	c.mu.Lock()
	if c.err != nil {
		c.retry = time.Time{}
	}
	c.mu.Unlock()
	_, _, _ = c.get(ctx)
}

// get returns valid credentials, or an error and, if a renewal may soon bring
// some, what to wait for.
func (c *Cache) get(ctx context.Context) (Credentials, <-chan struct{}, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	valid := c.isValid(now)
	over := c.run != nil && c.run.Err() != nil
	if !c.busy && !over && !time.Now().Before(c.retry) && (!valid || c.isDue(now)) {
		c.begin(ctx)
	}
	switch {
	case valid:
		return c.current, nil, nil
	case c.err != nil:
		return Credentials{}, c.renewal, c.err
	case over:
		return Credentials{}, c.renewal, fmt.Errorf("credentials are not renewed any more: %w", context.Cause(c.run))
	}
	return Credentials{}, c.renewal, ErrNotReady
}

// isDue reports whether current is to be renewed. Besides the clock it goes by
// the time that passed since it came, lest a clock that was set back keeps it
// for too long.
func (c *Cache) isDue(now time.Time) bool {
	return !now.Before(c.due) || time.Since(c.born) >= c.young
}

func (c *Cache) isValid(now time.Time) bool {
	return c.current.Check(now) == nil && time.Since(c.born) < c.life
}

// begin starts a renewal. It outlives who asked for it: others wait for it too.
func (c *Cache) begin(ctx context.Context) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	done := make(chan struct{})
	c.renewal, c.busy, c.since = done, true, time.Now()
	c.begun++
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	c.cancel = cancel
	hung := time.AfterFunc(timeout+grace, func() { c.giveUp(done, timeout) })
	go func() {
		creds, err := c.Source.Credentials(ctx)
		hung.Stop()
		cancel()
		c.end(creds, err)
	}()
}

// giveUp tells those that wait that a renewal takes too long. It goes on.
func (c *Cache) giveUp(renewal chan struct{}, timeout time.Duration) {
	c.mu.Lock()
	log := func() {}
	if c.renewal == renewal {
		log = c.fail(fmt.Errorf("no credentials within %v: %w", timeout, context.DeadlineExceeded))
		c.tell()
	}
	c.mu.Unlock()
	log()
}

func (c *Cache) end(creds Credentials, err error) {
	c.mu.Lock()
	now := c.now()
	if err == nil {
		err = creds.Check(now)
	}
	var log func()
	if err != nil {
		c.failed++
		log = c.fail(err)
		c.ended = append(c.ended, result{err: err})
	} else {
		log = c.renew(creds, now)
		c.ended = append(c.ended, result{creds: c.current})
	}
	c.busy = false
	c.tell()
	c.mu.Unlock()
	c.callRenewed()
	log() // who reads it may be slow, or gone
}

// callRenewed calls Renewed for all renewals that ended, unless another
// goroutine does.
func (c *Cache) callRenewed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.telling && len(c.ended) > 0 {
		r := c.ended[0]
		c.ended = c.ended[1:]
		if c.Renewed == nil {
			continue
		}
		func() {
			c.telling = true
			c.mu.Unlock()
			defer func() { // also if Renewed panics or ends its goroutine
				c.mu.Lock()
				c.telling = false
			}()
			c.Renewed(r.creds, r.err)
		}()
	}
}

// tell wakes up those that wait.
func (c *Cache) tell() {
	if c.renewal != nil {
		close(c.renewal)
		c.renewal = nil
	}
}

func (c *Cache) fail(err error) (log func()) {
	pause := min(firstRetry<<min(c.failures, 10), lastRetry)
	pause = pause/2 + rand.N(pause/2)
	c.failures++
	c.err, c.retry = err, time.Now().Add(pause)
	args := []any{"error", err, "failures", c.failures, "retry_in", pause.Round(time.Millisecond)}
	if now := c.now(); c.isValid(now) {
		args = append(args, "valid_for", c.current.Expires.Sub(now).Round(time.Second))
	}
	level := slog.LevelWarn
	if errors.Is(err, context.Canceled) { // by the Source's owner, who is ending
		level = slog.LevelDebug
	}
	return func() { c.logger().Log(context.Background(), level, "credentials were not renewed", args...) }
}

func (c *Cache) renew(creds Credentials, now time.Time) (log func()) {
	creds.Expires = creds.Expires.Round(0) // by the clock alone
	life := creds.Expires.Sub(now)
	window := renewalWindow(c.Window, life)
	window += rand.N(window/4 + 1) // many machines may have started at once
	c.current, c.born, c.life = creds, time.Now(), life
	c.due, c.young = creds.Expires.Add(-window), life-window
	c.failures, c.err, c.retry = 0, nil, time.Time{}
	if c.young < firstRetry { // as if the clock is ahead: do not ask all the time
		c.retry = c.born.Add(firstRetry)
	}
	next := c.due.UTC().Format(time.RFC3339)
	return func() { c.logger().Info("credentials were renewed", "credentials", creds, "next", next) }
}

// renewalWindow returns how long before their end credentials are renewed that
// live for a time.
func renewalWindow(window, life time.Duration) time.Duration {
	if window <= 0 {
		window = defaultWindow
	}
	return min(window, life/3)
}

// Run renews credentials when they are due, whether anybody asks for them or
// not, until ctx ends. It returns ctx's error.
//
// The end of ctx is that of all renewals: the one that is under way, whoever
// asked for it, has its context cancelled and is not waited for, and no other
// begins. What is valid is still given out. At most one Run is under way at a
// time; another one may come after it.
func (c *Cache) Run(ctx context.Context) error {
	c.mu.Lock()
	c.run = ctx
	c.mu.Unlock()
	for ctx.Err() == nil {
		_, _, _ = c.get(ctx)
		wait, pause := c.next()
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
	if c.busy {
		c.cancel()
	}
	return ctx.Err()
}

// next returns when Run has to look again.
func (c *Cache) next() (renewal <-chan struct{}, pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy {
		return c.renewal, glance
	}
	pause = max(c.due.Sub(c.now()), time.Until(c.retry), time.Millisecond)
	return nil, min(pause, glance)
}

// A Status is how a Cache is doing.
type Status struct {
	Expires  time.Time     // of what is given out; zero: nothing valid is there
	Renewing time.Duration // how long a renewal has been under way; 0: none is
	Failures int           // renewals that failed since the last that did not
	Err      error         // of the last renewal, if it failed

	Renewals       int // that were begun since the Cache was made
	FailedRenewals int // of these, those that ended with an error
}

// Status returns how c is doing.
func (c *Cache) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Failures: c.failures, Err: c.err, Renewals: c.begun, FailedRenewals: c.failed}
	if c.isValid(c.now()) {
		s.Expires = c.current.Expires
	}
	if c.busy {
		s.Renewing = time.Since(c.since)
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
