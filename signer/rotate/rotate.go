// Package rotate keeps a key and its certificates up to date while a program
// uses them: they are opened again when their files change, on request, and
// after their device was away, and are exchanged as one pair.
package rotate

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/internal/filestate"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Config says how a key and its certificates are opened, and when. Its
// functions are called by several goroutines, Open and Check by one at a time.
type Config struct {
	// Open returns the key with its certificates as they are now. It hands
	// the key over to the Identity, which closes it. If Open does not return
	// soon after its context ended, as with a device that hangs, nobody waits
	// for it any longer, and a key that it returns then is closed; it is not
	// called again before.
	Open func(context.Context) (signer.Signer, error)

	// Check reports why a key, which it borrows, is not to be used; nil: no
	// key is refused, but for one without a certificate.
	Check func(signer.Signer) error

	Name  string   // what errors call the key if its device hangs; may be empty
	Files []string // whose change has Run open the key again

	// Timeout bounds one reopening, with the wait for one that is under way;
	// 0: 30 seconds. It does not bound New.
	Timeout time.Duration

	// Reloaded, unless nil, is called by Run after each of its reloads that
	// succeeded, with Run's context. Run does nothing else meanwhile.
	Reloaded func(context.Context)

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // tells whether a certificate has expired; nil: time.Now
}

const (
	defaultTimeout = 30 * time.Second

	// grace is how long what hangs in a device is waited for at the end of
	// its time.
	grace = time.Second
)

// An Identity is a key with its certificates that is opened again and exchanged
// while it is in use. The key that is there stays until another one was opened
// and checked; then it is closed after its last use. An Identity is safe for
// concurrent use.
type Identity struct {
	config   Config
	turn     chan struct{} // full while a key is opened, until it is in place
	requests chan struct{} // for Run
	ended    context.Context
	end      context.CancelFunc // by Close

	mu       sync.Mutex
	current  *pair
	open     map[*pair]bool // current, and those before it that are still used
	gone     bool           // current is retired: its device was not available
	closed   bool
	refused  error // a PIN was refused at the last attempt to open the key
	attempts int   // to open the key again, but for those that were called off
	last     error // of these
	stats    Stats
}

// Stats count what an Identity did.
type Stats struct {
	Reloads       int // the key was opened again and exchanged
	FailedReloads int // it was not; the one before stayed
}

// A pair is one key with its certificates.
type pair struct {
	key     signer.Signer
	files   filestate.State // before it was opened
	uses    int
	retired bool         // another one is there, or its device is away; the last use closes it
	close   func() error // closes the key, once
}

// New opens the key for the first time, for as long as ctx lasts, and takes the
// state of the files before that. The caller closes the Identity. The error is
// that of Open or Check, or wraps [signer.ErrNoCertificate], or the cause of
// ctx's end if Open does not return.
func New(ctx context.Context, config Config) (*Identity, error) {
	if config.Open == nil {
		return nil, errors.New("rotate: the configuration has no Open")
	}
	if config.Timeout <= 0 {
		config.Timeout = defaultTimeout
	}
	config.Logger = logging.OrDiscard(config.Logger)
	if config.Now == nil {
		config.Now = time.Now
	}
	i := &Identity{
		config: config, turn: make(chan struct{}, 1), requests: make(chan struct{}, 1),
		open: make(map[*pair]bool),
	}
	i.ended, i.end = context.WithCancel(context.Background())
	i.turn <- struct{}{}
	p, inTime, err := i.openPair(ctx)
	if err != nil {
		return nil, err
	}
	i.current, i.open[p] = p, true
	if inTime {
		<-i.turn
	}
	return i, nil
}

// openPair opens and checks a key, by whoever has the turn. If it does not
// return in time, it has the turn until it returns, and what it returns then is
// closed.
func (i *Identity) openPair(ctx context.Context) (_ *pair, inTime bool, _ error) {
	type result struct {
		pair *pair
		err  error
	}
	later, cancel := await.Later(ctx, grace)
	defer cancel()
	r, err := await.Result(later, func() (result, error) {
		p, err := i.openNow(ctx)
		return result{p, err}, nil
	}, func(late result) {
		if late.err == nil {
			_ = i.close(late.pair)
		}
		<-i.turn
	})
	if err != nil {
		return nil, false, i.hangs(err)
	}
	return r.pair, true, r.err
}

func (i *Identity) openNow(ctx context.Context) (_ *pair, err error) {
	if ctx.Err() != nil { // before a PIN is tried for nobody
		return nil, context.Cause(ctx)
	}
	files := filestate.Of(i.config.Files...)
	key, err := i.config.Open(ctx)
	if err == nil && key == nil {
		err = errors.New("rotate: Open returned no key")
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			key.Close()
		}
	}()
	if i.config.Check != nil {
		if err := i.config.Check(key); err != nil {
			return nil, err
		}
	}
	if len(key.Chain()) == 0 {
		return nil, i.named(signer.ErrNoCertificate)
	}
	return &pair{key: key, files: files, close: sync.OnceValue(func() error {
		err := key.Close()
		if err != nil {
			i.config.Logger.Debug("closing a key", "error", err)
		}
		return err
	})}, nil
}

// Reload opens the key again, within the timeout and for as long as ctx lasts,
// and exchanges it if it is good. An attempt that is under way is waited for
// first. The error says why the key from before stays, as that of [New]; it is
// [signer.ErrClosed] after Close. It is logged, too.
func (i *Identity) Reload(ctx context.Context) error { return i.reload(ctx, nil) }

// reload is Reload, unless another attempt ended after the one that is given as
// known: then it returns the error of that.
func (i *Identity) reload(asked context.Context, known *int) error {
	ctx, cancel := context.WithTimeout(asked, i.config.Timeout)
	defer cancel()
	defer context.AfterFunc(i.ended, cancel)()
	select {
	case i.turn <- struct{}{}:
	default:
		select {
		case i.turn <- struct{}{}:
		case <-ctx.Done():
			return i.fail(i.named(fmt.Errorf("still being opened: %w", context.Cause(ctx))))
		}
	}
	i.mu.Lock()
	closed, done, err := i.closed, known != nil && i.attempts != *known, i.last
	i.mu.Unlock()
	if closed || done {
		<-i.turn
		if closed {
			return signer.ErrClosed
		}
		return err
	}
	next, inTime, err := i.openPair(ctx)
	if inTime {
		defer func() { <-i.turn }()
	}
	return i.settle(asked, next, err)
}

// settle puts a pair in place, or notes why there is none.
func (i *Identity) settle(asked context.Context, next *pair, err error) error {
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		if next != nil {
			_ = i.close(next)
		}
		return signer.ErrClosed
	}
	if err == nil || asked.Err() == nil { // or it was called off, which says nothing of the key and its PIN
		i.attempts++
		i.last, i.refused = err, nil
		if errors.Is(err, signer.ErrPINIncorrect) || errors.Is(err, signer.ErrPINLocked) {
			i.refused = err
		}
	}
	if err != nil {
		i.mu.Unlock()
		return i.fail(err)
	}
	old := i.current
	i.current, i.open[next] = next, true
	old.retired, i.gone = true, false
	idle := i.takeIdle(old)
	i.stats.Reloads++
	i.mu.Unlock()
	if idle {
		_ = i.close(old)
	}
	leaf := next.key.Chain()[0]
	i.config.Logger.Info("key and certificate were reloaded", "certificate_serial", leaf.SerialNumber.Text(16), "not_after", leaf.NotAfter.UTC())
	return nil
}

// fail counts and logs that the key stays, unless the Identity is closed.
func (i *Identity) fail(err error) error {
	i.mu.Lock()
	closed := i.closed
	if !closed {
		i.stats.FailedReloads++
	}
	i.mu.Unlock()
	if closed {
		return signer.ErrClosed
	}
	i.config.Logger.Warn("key and certificate were not reloaded", "error", err, "hint", signer.Hint(err))
	return err
}

// takeIdle reports, with the lock, whether the caller is to close p.
func (i *Identity) takeIdle(p *pair) bool {
	if !p.retired || p.uses > 0 || !i.open[p] {
		return false
	}
	delete(i.open, p)
	return true
}

// close closes a key. It does not wait long for a device that hangs.
func (i *Identity) close(p *pair) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_, err := await.Result(ctx, func() (struct{}, error) { return struct{}{}, p.close() }, nil)
	if err != nil && ctx.Err() != nil {
		return i.hangs(err)
	}
	return err
}

// Close closes the key, also in the middle of a signature, which may be asking
// for a PIN, and ends what Reload and Run do. It does not wait long for a device
// that hangs: after a second it returns an error, and the rest goes on behind.
// Otherwise the error is that of closing the key. Later calls do nothing.
func (i *Identity) Close() error {
	i.mu.Lock()
	i.closed = true
	i.end()
	pairs := i.open
	i.open = nil
	i.mu.Unlock()
	errs := make(chan error, len(pairs))
	for p := range pairs {
		go func() { errs <- i.close(p) }()
	}
	var err error
	for range pairs {
		err = errors.Join(err, <-errs)
	}
	return err
}

// Chain returns the certificates in use, leaf first; there is at least one. The
// caller must not change them.
func (i *Identity) Chain() []*x509.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current.key.Chain()
}

// Stats returns what was done so far.
func (i *Identity) Stats() Stats {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.stats
}

func (i *Identity) hangs(err error) error {
	return signer.WithHint(i.named(fmt.Errorf("the device hangs: %w", err)),
		"reconnect the device or restart the service that it is behind, such as pcscd")
}

func (i *Identity) named(err error) error {
	if i.config.Name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", i.config.Name, err)
}
