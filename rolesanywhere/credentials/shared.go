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

// A Shared is a [Source] whose credentials all processes of a user share
// through a [Storage]. However many ask at once, one makes new ones, and the
// others wait for these. Unlike other Sources it gives the same ones again, so
// it is for processes that ask once, and not for a [Cache] to renew from. Its
// fields are not changed after the first use; it is safe for concurrent use.
//
// What is kept is given out until it is due, as a [Cache] has it. From then on
// one process renews it: those that ask meanwhile get what is there while most
// of that time is left, and if a renewal fails, whatever is still valid. Errors
// of the Storage are logged and keep nobody from credentials.
type Shared struct {
	Key     string // of [Key]: what the credentials depend on
	Storage Storage
	Locks   *Folder // where processes agree on who makes credentials; nil: each makes its own

	// Make makes new credentials, and tells until when they may be handed on
	// besides; zero: as long as they live.
	Make func(ctx context.Context) (c Credentials, until time.Time, err error)

	Window   time.Duration    // as in Cache
	Patience time.Duration    // for another process that makes credentials; 0: 20 seconds
	Logger   *slog.Logger     // nil: discard
	Now      func() time.Time // nil: time.Now
}

const (
	defaultPatience = 20 * time.Second

	// firstPoll and lastPoll bound the pauses between looks at what another
	// process does. A file lock has no other way of waiting that ends.
	firstPoll = 5 * time.Millisecond
	lastPoll  = 50 * time.Millisecond

	// enough is the part of the window that must be left for credentials
	// that another process is renewing to be given out: 15 of 20 minutes.
	enough = 0.75
)

// Credentials implements [Source].
func (s *Shared) Credentials(ctx context.Context) (Credentials, error) {
	patience := s.Patience
	if patience <= 0 {
		patience = defaultPatience
	}
	giveUp := time.Now().Add(patience)
	for pause := firstPoll; ; pause = min(2*pause, lastPoll) {
		f := s.load()
		if f.left > 1 {
			s.logger().Debug("credentials are in the cache", "credentials", f.Credentials)
			return f.Credentials, nil
		}
		unlock, err := s.lock()
		switch {
		case err == nil:
			defer unlock()
			// Another process may have been faster.
			if f = s.load(); f.left > 1 {
				return f.Credentials, nil
			}
			return s.renew(ctx, f)
		case !errors.Is(err, ErrLocked):
			s.logger().Warn("the cache cannot be locked; other processes may make credentials too", "error", err)
			return s.renew(ctx, f)
		case f.left >= enough:
			return f.Credentials, nil
		case !time.Now().Before(giveUp):
			s.logger().Warn("another process holds the cache and does not come to an end; not waiting for it", "waited", patience)
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

// renew makes credentials and keeps them, unless what was found has to do.
func (s *Shared) renew(ctx context.Context, f found) (Credentials, error) {
	switch {
	case isNewer(f.err):
		s.logger().Warn(f.err.Error() + "; it is neither used nor replaced")
	case f.err != nil:
		s.logger().Warn("what is in the cache is not used, and made anew", "error", f.err)
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

// sweep removes what is of no use any more, such as the entries of a
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
		s.logger().Debug("tidying up the cache", "error", err)
	}
}

// removeStale leaves alone what another process is about to make anew.
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
