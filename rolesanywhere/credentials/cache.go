package credentials

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// A Cache keeps the credentials of a Source in memory and renews them ahead of
// need. It is itself a [Source]. Its fields are not changed after the first use;
// its methods are safe for concurrent use.
//
// One renewal is under way at a time, whoever waits for it; it goes on when
// those that wait give up. While credentials are valid nobody waits: a renewal
// that fails leaves them in place. Credentials that are blank or expired are
// never given out.
type Cache struct {
	Source Source

	// Window is how long before their end credentials are renewed; 0: 20
	// minutes. Those that live less than three times as long are renewed in
	// the last third of their life.
	Window time.Duration

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // nil: time.Now

	mu       sync.Mutex
	current  Credentials
	born     time.Time // when current came
	due      time.Time // when current is to be renewed
	renewal  chan struct{}
	since    time.Time // when the renewal that is under way began
	failures int       // since current came
	retry    time.Time // nothing is asked before, after a failure
	err      error     // of the last renewal, if it failed
}

// ErrNotReady is the error of [Cache.Current] before the first credentials.
var ErrNotReady = errors.New("there are no credentials yet")

const (
	defaultWindow = 20 * time.Minute
	firstRetry    = time.Second
	lastRetry     = time.Minute
	// glance bounds how long Run looks away: a clock that is set or a
	// machine that sleeps moves the time at which credentials end.
	glance = 10 * time.Second
)

// Credentials implements [Source]. It waits only if nothing valid is there, for
// a renewal and no longer than ctx. Soon after one that failed its error is
// returned at once.
func (c *Cache) Credentials(ctx context.Context) (Credentials, error) {
	for {
		creds, err, wait := c.get(ctx)
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
// due. Its error is [ErrNotReady] before the first renewal ended, and otherwise
// that of the last one.
func (c *Cache) Current(ctx context.Context) (Credentials, error) {
	creds, err, wait := c.get(ctx)
	if wait != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return Credentials{}, c.notReady()
	}
	return creds, err
}

func (c *Cache) notReady() error {
	if c.err != nil {
		return c.err
	}
	return ErrNotReady
}

// get returns credentials, or an error, or what to wait for.
func (c *Cache) get(ctx context.Context) (Credentials, error, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	valid := c.current.Check(now) == nil
	if c.renewal == nil && !now.Before(c.retry) && (!valid || c.isDue(now)) {
		c.begin(ctx, now)
	}
	switch {
	case valid:
		return c.current, nil, nil
	case c.renewal != nil:
		return Credentials{}, nil, c.renewal
	}
	return Credentials{}, c.notReady(), nil
}

// isDue reports whether current is to be renewed. Besides the clock, by which
// others judge it, it goes by the time that passed since it came, lest a clock
// that was set back keeps it for too long.
func (c *Cache) isDue(now time.Time) bool {
	return !now.Before(c.due) || now.Sub(c.born) >= c.due.Round(0).Sub(c.born.Round(0))
}

// begin starts a renewal. It outlives who asked for it: others wait for it too.
func (c *Cache) begin(ctx context.Context, now time.Time) {
	c.renewal, c.since = make(chan struct{}), now
	ctx = context.WithoutCancel(ctx)
	go func() {
		creds, err := c.Source.Credentials(ctx)
		c.end(creds, err)
	}()
}

func (c *Cache) end(creds Credentials, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if err == nil {
		err = creds.Check(now)
	}
	if err != nil {
		pause := min(firstRetry<<min(c.failures, 10), lastRetry)
		c.failures++
		c.err, c.retry = err, now.Add(pause/2+rand.N(pause/2))
		c.logger().Warn("credentials were not renewed", "error", err, "failures", c.failures,
			"next", c.retry.UTC().Format(time.RFC3339), "valid_until", c.current.Expires)
	} else {
		c.current, c.born, c.due = creds, now, c.renewAt(creds, now)
		c.failures, c.err, c.retry = 0, nil, time.Time{}
		c.logger().Info("credentials were renewed", "credentials", creds, "next", c.due.UTC().Format(time.RFC3339))
	}
	close(c.renewal)
	c.renewal = nil
}

// renewAt spreads the renewals of many machines that were started at once.
func (c *Cache) renewAt(creds Credentials, now time.Time) time.Time {
	window := c.Window
	if window <= 0 {
		window = defaultWindow
	}
	window = min(window, creds.Expires.Sub(now)/3)
	return creds.Expires.Add(-window - rand.N(window/4+1))
}

// Run renews credentials when they are due, whether anybody asks for them or
// not, until ctx ends. It returns ctx's error.
func (c *Cache) Run(ctx context.Context) error {
	for {
		_, _, wait := c.get(ctx)
		c.mu.Lock()
		now := c.now()
		at := c.due
		if c.retry.After(at) {
			at = c.retry
		}
		if c.renewal != nil {
			wait = c.renewal
		}
		c.mu.Unlock()
		pause := time.NewTimer(min(max(at.Sub(now), time.Millisecond), glance))
		if wait != nil {
			pause.Stop()
		}
		select {
		case <-pause.C:
		case <-wait:
		case <-ctx.Done():
		}
		pause.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// A Status is how a Cache is doing.
type Status struct {
	Expires  time.Time     // of what is given out; zero: nothing valid is there
	Renewing time.Duration // how long a renewal has been under way; 0: none is
	Failures int           // renewals that failed since the last that did not
	Err      error         // of the last renewal, if it failed
}

// Status returns how c is doing.
func (c *Cache) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	s := Status{Failures: c.failures, Err: c.err}
	if c.current.Check(now) == nil {
		s.Expires = c.current.Expires
	}
	if c.renewal != nil {
		s.Renewing = now.Sub(c.since)
	}
	return s
}

func (c *Cache) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c *Cache) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}
