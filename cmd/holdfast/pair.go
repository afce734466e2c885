package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-dev/holdfast/rolesanywhere"
	"github.com/holdfast-dev/holdfast/rolesanywhere/credentials"
	"github.com/holdfast-dev/holdfast/signer"
)

// openPatience bounds how long a key and its certificate may take to reopen.
const openPatience = 30 * time.Second

// A pairSource makes credentials with a key and its certificate, which are
// opened and exchanged as one pair while the source is in use. The pair that
// is there stays until another one was opened and checked. It is a
// [credentials.Source], and safe for concurrent use.
type pairSource struct {
	open   func(context.Context) (signer.Signer, error)
	config rolesanywhere.Config // but for Signer
	log    *slog.Logger

	opening sync.Mutex // held while another pair is opened
	mu      sync.Mutex
	current *pair
	gone    bool // current is closed: its device was not available
	closed  bool
	refused error // a PIN was refused when the pair was opened last

	renewals, failures     atomic.Int64
	reloads, failedReloads atomic.Int64
	first                  sync.Once
	firstEnded             chan struct{} // closed after the first call of Credentials
}

// A pair is a key, its certificate, and a client that uses them.
type pair struct {
	key     signer.Signer
	client  *rolesanywhere.Client
	uses    int
	retired bool // another one is there; the last use closes it
	closing sync.Once
}

// newPairSource opens the first pair. The caller closes the source.
func newPairSource(ctx context.Context, open func(context.Context) (signer.Signer, error), config rolesanywhere.Config, log *slog.Logger) (*pairSource, error) {
	s := &pairSource{open: open, config: config, log: log, firstEnded: make(chan struct{})}
	p, err := s.openPair(ctx)
	if err != nil {
		return nil, err
	}
	s.current = p
	return s, nil
}

// openPair opens and checks a pair as it is now.
func (s *pairSource) openPair(ctx context.Context) (_ *pair, err error) {
	key, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			key.Close()
		}
	}()
	if err := rolesanywhere.CheckChain(key.Chain(), s.config.Now()); err != nil {
		return nil, &rolesanywhere.CertificateError{Name: s.config.CertificateName, Err: err}
	}
	config := s.config
	config.Signer = key
	client, err := rolesanywhere.New(config)
	if err != nil {
		return nil, err
	}
	return &pair{key: key, client: client}, nil
}

// Reload opens the pair again and exchanges it if it is good.
func (s *pairSource) Reload(ctx context.Context) error {
	s.opening.Lock()
	defer s.opening.Unlock()
	ctx, cancel := context.WithTimeout(ctx, openPatience)
	defer cancel()
	next, err := s.openPair(ctx)
	s.mu.Lock()
	s.refused = nil
	if errors.Is(err, signer.ErrPINIncorrect) || errors.Is(err, signer.ErrPINLocked) {
		s.refused = err
	}
	s.mu.Unlock()
	if err != nil {
		s.failedReloads.Add(1)
		s.log.Warn("key and certificate were not reloaded", "error", err, "hint", signer.Hint(err))
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.close(next)
		return signer.ErrClosed
	}
	old := s.current
	s.current = next
	idle := !old.retired && old.uses == 0
	old.retired, s.gone = true, false
	s.mu.Unlock()
	if idle {
		s.close(old)
	}
	s.reloads.Add(1)
	leaf := next.key.Chain()[0]
	s.log.Info("key and certificate were reloaded", "certificate_serial", leaf.SerialNumber.Text(16), "not_after", leaf.NotAfter.UTC())
	return nil
}

// Credentials implements [credentials.Source]. A certificate that has expired
// is looked for anew before.
//
// A device that was not available is closed and opened again before the next
// renewal: some modules notice a token that is back in no other way. A PIN that
// is refused then is not tried again until somebody asks for a reload, lest the
// token is locked.
func (s *pairSource) Credentials(ctx context.Context) (credentials.Credentials, error) {
	defer s.first.Do(func() { close(s.firstEnded) })
	s.renewals.Add(1)
	c, err := s.renew(ctx)
	if err != nil {
		s.failures.Add(1)
	}
	return c, err
}

func (s *pairSource) renew(ctx context.Context) (credentials.Credentials, error) {
	s.mu.Lock()
	gone, refused := s.gone, s.refused
	s.mu.Unlock()
	switch {
	case refused != nil && gone:
		return credentials.Credentials{}, refused
	case refused != nil:
	case gone:
		if err := s.Reload(ctx); err != nil {
			return credentials.Credentials{}, err
		}
	case s.config.Now().After(s.NotAfter()):
		_ = s.Reload(ctx) // it is logged, and what is there says the rest
	}
	p := s.acquire()
	c, err := p.client.Credentials(ctx)
	s.release(p, errors.Is(err, signer.ErrUnavailable))
	return c, err
}

// NotAfter returns the end of the leaf certificate in use.
func (s *pairSource) NotAfter() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.key.Chain()[0].NotAfter
}

func (s *pairSource) acquire() *pair {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current.uses++
	return s.current
}

// release ends one use. A pair that is given up is closed after its last one.
func (s *pairSource) release(p *pair, giveUp bool) {
	s.mu.Lock()
	p.uses--
	if giveUp && p == s.current {
		p.retired, s.gone = true, true
	}
	last := p.retired && p.uses == 0
	s.mu.Unlock()
	if last {
		s.close(p)
	}
}

func (s *pairSource) close(p *pair) {
	p.closing.Do(func() {
		if err := p.key.Close(); err != nil {
			s.log.Debug("closing a key", "error", err)
		}
	})
}

// Close closes the pair, also in the middle of a signature, which may be asking
// for a PIN; it does not wait long for a device that hangs. It is called once.
func (s *pairSource) Close() {
	s.mu.Lock()
	p := s.current
	open := !p.retired
	s.closed, p.retired = true, true
	s.mu.Unlock()
	if !open {
		return
	}
	ended, end := context.WithCancel(context.Background())
	end()
	_ = orLeave(ended, "", func() error {
		s.close(p)
		return nil
	})
}

func (s *pairSource) isRefused() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused != nil
}

// A stamp tells one state of some files from another.
type stamp []fs.FileInfo // nil: there is none

func stampOf(names []string) stamp {
	s := make(stamp, len(names))
	for i, name := range names {
		s[i], _ = os.Stat(name)
	}
	return s
}

func (s stamp) equal(o stamp) bool {
	for i, a := range s {
		b := o[i]
		if (a == nil) != (b == nil) {
			return false
		}
		if a != nil && (!os.SameFile(a, b) || a.Size() != b.Size() || !a.ModTime().Equal(b.ModTime())) {
			return false
		}
	}
	return true
}

const (
	watchEvery = 2 * time.Second
	// watchRetry is when files that could not be loaded are tried again
	// though they did not change: the reason may have been another one.
	watchRetry = time.Minute
)

// watch reloads whenever one of the files is not as it was when the pair was
// opened, and has then stood still for a moment, or something comes from force,
// until ctx ends. After each reload it calls reloaded.
func (s *pairSource) watch(ctx context.Context, names []string, loaded stamp, force <-chan struct{}, reloaded func()) {
	seen := loaded
	var tried stamp // nil: the last attempt was good
	var triedAt time.Time
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		forced := false
		select {
		case <-tick.C:
		case <-force:
			forced = true
		case <-ctx.Done():
			return
		}
		now := stampOf(names)
		still := now.equal(seen)
		seen = now
		switch {
		case forced:
		case !still || now.equal(loaded):
			continue
		case tried != nil && now.equal(tried) && (time.Since(triedAt) < watchRetry || s.isRefused()):
			continue
		}
		if s.Reload(ctx) != nil {
			tried, triedAt = now, time.Now()
			continue
		}
		loaded, tried = now, nil
		reloaded()
	}
}
