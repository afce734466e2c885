package spiffe

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// The pauses before the next connection: they double from the first to the longest.
const (
	firstPause   = time.Second
	longestPause = 30 * time.Second
)

// Watch implements [keystore.Watcher]. It keeps a call of the API open, on which the API
// sends the next SVID, and calls changed with the certificate of the first message of each
// connection, and of each later message in which it has changed. When the API cannot be
// reached or withdraws the identity, it logs a warning, and tries again after 1 second, then
// 2, and so on, up to 30 seconds, each shortened by up to a half at random.
func (Backend) Watch(ctx context.Context, ref keystore.Ref, call keystore.Call, changed func(*x509.Certificate)) error {
	cfg, err := configFor(ref, call)
	if err != nil {
		return err
	}
	w := watcher{cfg: cfg, logger: logging.OrDiscard(call.Logger).With("key", ref.String()), changed: changed, pause: await.Pause, random: rand.Float64}
	return w.run(ctx)
}

// A watcher is a call of Watch.
type watcher struct {
	cfg     config
	logger  *slog.Logger
	changed func(*x509.Certificate)
	pause   func(context.Context, time.Duration) error
	random  func() float64 // from 0 to 1, which is excluded

	last string // the fault that was logged last; "": it is over
}

func (w *watcher) run(ctx context.Context) error {
	for next := firstPause; ; next = min(2*next, longestPause) {
		answered, err := w.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		w.warn(err)
		if answered {
			next = firstPause
		}
		if err := w.pause(ctx, next-time.Duration(w.random()*float64(next)/2)); err != nil {
			return err
		}
	}
}

// follow reads the messages of one call until it ends. answered means that there was one
// with the SVID.
func (w *watcher) follow(ctx context.Context) (answered bool, err error) {
	s, err := dial(ctx, w.cfg.endpoint)
	if err != nil {
		return false, err
	}
	defer s.close()
	var leaf *x509.Certificate
	for {
		all, err := s.next()
		if err != nil {
			return answered, err
		}
		now, err := all.leaf(w.cfg)
		all.clear()
		if err != nil { // a later message can have it
			w.warn(err)
			continue
		}
		if w.last != "" {
			w.logger.Info("the SPIFFE Workload API has the SVID again")
			w.last = ""
		}
		answered = true
		if leaf == nil || !now.Equal(leaf) {
			leaf = now
			w.changed(now)
		}
	}
}

// leaf returns the certificate of the SVID that cfg selects.
func (all svids) leaf(cfg config) (*x509.Certificate, error) {
	i, err := all.choose(cfg)
	if err != nil {
		return nil, err
	}
	certs, err := all[i].certificates()
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}

// warn logs a fault once, however often it repeats.
func (w *watcher) warn(err error) {
	text := err.Error()
	switch {
	case errors.Is(err, errEnded), text == w.last: // as when an agent is restarted
		return
	case errors.Is(err, signer.ErrNotFound):
		w.logger.Warn("the SPIFFE Workload API has withdrawn the identity; the SVID in use stays in use until it expires", logging.Error(err, signer.Hint(err))...)
	default:
		w.logger.Warn("no new SVID from the SPIFFE Workload API; the one in use stays in use until it expires", logging.Error(err, signer.Hint(err))...)
	}
	w.last = text
}
