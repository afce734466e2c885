package credentials

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/logging"
)

// A Shared is a [Source] of credentials that all processes of a user share
// through a [Storage]. If several processes need new credentials, one obtains
// them and the others wait. Unlike other Sources it returns the same
// credentials repeatedly, so it is for processes that need credentials once,
// and not for a [Cache]. Its fields must not be changed after the first use. It
// is safe for concurrent use.
//
// Shared returns saved credentials until they are due for renewal. Then one
// process renews them. Meanwhile other processes use the
// saved credentials while most of the renewal window is left. If the renewal
// fails, saved credentials are used while they are valid. Errors of the Storage
// are logged; credentials are then obtained without it.
type Shared struct {
	Key     string // a result of [Key]
	Storage Storage
	Locks   *Folder // lets only one process obtain credentials; nil: no locks

	// Make obtains new credentials. until is an additional time limit for
	// their use; zero: no limit except their expiry.
	Make func(ctx context.Context) (c Credentials, until time.Time, err error)

	Window      time.Duration    // how long before their expiry credentials are renewed, at most a third of their lifetime; 0: 20 minutes
	LockTimeout time.Duration    // maximum wait for another process that makes credentials; 0: 20 seconds
	Logger      *slog.Logger     // nil: discard
	Now         func() time.Time // nil: time.Now
}

const (
	defaultWindow      = 20 * time.Minute
	defaultLockTimeout = 20 * time.Second

	// minPoll and maxPoll limit the pauses between attempts to get the
	// lock. Waiting for a file lock with a time limit is only possible by
	// polling.
	minPoll = 5 * time.Millisecond
	maxPoll = 50 * time.Millisecond

	// minWindowLeft is the fraction of the window that must be left to use
	// credentials that another process is renewing: 15 of 20 minutes.
	minWindowLeft = 0.75
)

// Credentials implements [Source].
func (s *Shared) Credentials(ctx context.Context) (Credentials, error) {
	timeout := s.LockTimeout
	if timeout <= 0 {
		timeout = defaultLockTimeout
	}
	deadline := time.Now().Add(timeout)
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		f := s.load()
		if f.left > 1 {
			s.logger().Debug("using credentials from the cache", "credentials", f.Credentials)
			return f.Credentials, nil
		}
		if isNewer(f.err) { // the result is not saved: others need not wait for it
			return s.renew(ctx, f)
		}
		unlock, err := s.lock()
		switch {
		case err == nil:
			defer unlock()
			// Another process may have saved credentials in the
			// meantime.
			if f = s.load(); f.left > 1 {
				return f.Credentials, nil
			}
			return s.renew(ctx, f)
		case !errors.Is(err, ErrLocked):
			s.logger().Warn("could not lock the cache; other processes may also create sessions", "error", err)
			return s.renew(ctx, f)
		case f.left >= minWindowLeft:
			return f.Credentials, nil
		case !time.Now().Before(deadline):
			s.logger().Warn("another process holds the cache lock for too long; continuing without the lock", "waited", timeout)
			return s.renew(ctx, f)
		}
		if err := await.Pause(ctx, pause); err != nil {
			return Credentials{}, fmt.Errorf("waiting for credentials of another process: %w", err)
		}
	}
}

func (s *Shared) load() found { return load(s.Storage, s.Key, s.now(), s.Window) }

func (s *Shared) lock() (unlock func(), err error) {
	if s.Locks == nil {
		return func() {}, nil
	}
	return s.Locks.TryLock(s.Key)
}

// renew obtains new credentials and saves them. If that fails, it returns the
// credentials in f while they are valid.
func (s *Shared) renew(ctx context.Context, f found) (Credentials, error) {
	switch {
	case isNewer(f.err):
		s.logger().Warn(f.err.Error() + "; it is neither used nor replaced")
	case f.err != nil:
		// As a text: the hint of the error is for a person, but the entry is replaced here.
		s.logger().Warn("ignoring the cache entry and creating a new one", "error", f.err.Error())
	}
	c, until, err := s.Make(ctx)
	now := s.now()
	if err == nil {
		err = c.Check(now)
	}
	if err != nil {
		if ctx.Err() == nil && f.valid && f.Entry.valid(now) {
			s.logger().Warn("credentials were not renewed; those in the cache are still valid", "error", err,
				"valid_for", f.Credentials.Expires.Sub(now).Round(time.Second))
			return f.Credentials, nil
		}
		return Credentials{}, err
	}
	if !isNewer(f.err) {
		if err := s.save(Entry{c, now, until}); err != nil {
			s.logger().Warn("credentials were not kept in the cache", "error", err)
		}
	}
	s.sweep(now)
	return c, nil
}

func (s *Shared) save(e Entry) error {
	data, err := e.encode(s.Key)
	if err != nil {
		return err
	}
	expires := e.Credentials.Expires
	if !e.Until.IsZero() && e.Until.Before(expires) {
		expires = e.Until
	}
	return s.Storage.Save(s.Key, data, expires)
}

// sweep removes entries that are no longer valid, such as the entries of a
// certificate that was renewed.
func (s *Shared) sweep(now time.Time) {
	keys, err := s.Storage.Keys()
	for _, key := range keys {
		switch f := load(s.Storage, key, now, 0); {
		case f.valid:
		case isNewer(f.err):
			s.logger().Debug(f.err.Error() + "; it is not removed")
		default:
			err = errors.Join(err, s.removeStale(key, now))
		}
	}
	if s.Locks != nil {
		err = errors.Join(err, s.Locks.Tidy(now.Add(-time.Hour)))
	}
	if err != nil {
		s.logger().Debug("could not clean up the cache", "error", err)
	}
}

// removeStale removes an entry, unless another process is renewing it or has
// renewed it.
func (s *Shared) removeStale(key string, now time.Time) error {
	if s.Locks != nil {
		unlock, err := s.Locks.TryLock(key)
		if err != nil {
			return err
		}
		defer unlock()
	}
	if f := load(s.Storage, key, now, 0); f.valid || isNewer(f.err) {
		return nil
	}
	return s.Storage.Remove(key)
}

func (s *Shared) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

func (s *Shared) logger() *slog.Logger { return logging.OrDiscard(s.Logger) }
