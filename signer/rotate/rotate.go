// Package rotate keeps a key and its certificates up to date while a program
// uses them. It opens them again when their files change, on request, and after
// their device was unavailable, and always replaces the key and its
// certificates together.
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

// A Config describes how and when an [Identity] opens its key. The functions
// are called from several goroutines, but Open and Check never concurrently.
type Config struct {
	// Open returns the key with its current certificates. Its context ends when
	// it has returned, so the key must not keep it; nor must it be one of
	// signer.WithTimeout or WithContext, whose Close does nothing. Wrap the
	// result of Acquire or Signer instead. The Identity owns the key and closes
	// it. If Open does not return soon after its context ends, for example
	// because a device hangs, the Identity stops waiting for it. It then closes
	// a key that Open returns late, and does not call Open again until this
	// call has returned.
	Open func(context.Context) (signer.Signer, error)

	// Check borrows a key and returns an error if the key must not be used.
	// nil: every key that has a certificate is accepted.
	Check func(signer.Signer) error

	// KeyOnly means that certificates do not matter: a key needs none, so that
	// Chain can be empty, and is not opened again because its certificate has
	// expired.
	KeyOnly bool

	Name  string   // identifies the key in errors; may be empty
	Files []string // Run reloads the key when one of these files changes

	// PINFiles are the files with the PIN. After the device has counted a
	// wrong PIN as a try, the Identity uses the PIN again only when one of
	// these files changes, which Run notices within some seconds, or when
	// RequestReload or Reload is called.
	PINFiles []string

	// Timeout limits New and each reload, including the wait for a reload
	// in progress. The times in which a backend waits for a person do not
	// count. 0: 30 seconds.
	Timeout time.Duration

	// Reloaded, unless nil, is called by Run with Run's context after each
	// successful reload by Run. Run waits until it returns.
	Reloaded func(context.Context)

	Logger *slog.Logger     // nil: discard
	Now    func() time.Time // used to check certificates for expiry; nil: time.Now
}

const (
	defaultTimeout = 30 * time.Second

	// hangTimeout is how long to wait for a call that is stuck in a device
	// after its context has ended.
	hangTimeout = time.Second
)

// An Identity is a key with its certificates that can be replaced while it is
// in use. The current key stays in use until a new one is opened and checked;
// the old one is closed after its last use. An Identity is safe for concurrent
// use.
type Identity struct {
	config   Config
	opening  chan struct{}   // full while a key is being opened and installed
	requests chan struct{}   // for Run
	done     context.Context // canceled by Close
	cancel   context.CancelFunc

	mu          sync.Mutex
	current     *generation
	open        map[*generation]bool // current, and older ones still in use
	unavailable bool                 // the device of current was unavailable; current is retired
	closed      bool
	refused     refusal
	failed      failure
	attempts    int   // attempts to open the key again, without canceled ones
	lastErr     error // of the last of these attempts
	stats       Stats
	reloaded    time.Time // when the last reload that stats counts ended
	reloadErr   error     // of that reload; nil if it succeeded
}

// A generation is one opened key with its certificates.
type generation struct {
	key     signer.Signer
	files   filestate.State // before the key was opened
	uses    int
	retired bool         // replaced, or its device is unavailable; closed after its last use
	close   func() error // closes the key once
}

// New records the state of the files and opens the key for the first time. ctx
// and Config.Timeout limit the call of Open. The caller closes the Identity. The
// error is the error of Open or Check, wraps [signer.ErrNoCertificate], or, if
// Open does not return, wraps the cause of ctx, and [signer.ErrUnavailable]
// after the timeout.
func New(ctx context.Context, config Config) (*Identity, error) {
	if config.Open == nil {
		return nil, errors.New("rotate: the Config has no Open function")
	}
	if config.Timeout <= 0 {
		config.Timeout = defaultTimeout
	}
	config.Logger = logging.OrDiscard(config.Logger)
	if config.Now == nil {
		config.Now = time.Now
	}
	i := &Identity{
		config: config, opening: make(chan struct{}, 1), requests: make(chan struct{}, 1),
		open: make(map[*generation]bool),
	}
	i.done, i.cancel = context.WithCancel(context.Background())
	i.opening <- struct{}{}
	ctx, cancel := await.Limit(ctx, config.Timeout)
	defer cancel()
	g, inTime, err := i.openNext(ctx)
	if err != nil {
		return nil, err
	}
	i.current, i.open[g] = g, true
	if inTime {
		<-i.opening
	}
	return i, nil
}

// openNext opens and checks a key. The caller must have filled i.opening. If
// Open returns in time, the caller empties it. Otherwise openNext empties it
// when Open returns, and closes a key that Open returns late.
func (i *Identity) openNext(ctx context.Context) (_ *generation, inTime bool, _ error) {
	type result struct {
		generation *generation
		err        error
	}
	extended, cancel := await.WithGrace(ctx, hangTimeout)
	defer cancel()
	r, err := await.Result(extended, func() (result, error) {
		g, err := i.openNow(ctx)
		return result{g, err}, nil
	}, func(late result) {
		if late.err == nil {
			_ = i.close(late.generation)
		}
		<-i.opening
	})
	if err != nil {
		return nil, false, i.hangError(err)
	}
	return r.generation, true, r.err
}

// openNow opens and checks a key and records why that failed, even if the caller
// does not wait for the result any more.
func (i *Identity) openNow(ctx context.Context) (*generation, error) {
	if ctx.Err() != nil { // do not try a PIN if nobody waits for the key
		return nil, context.Cause(ctx)
	}
	files, pins := filestate.Of(i.config.Files...), filestate.Of(i.config.PINFiles...)
	g, err := i.openChecked(ctx, files)
	i.mu.Lock()
	defer i.mu.Unlock()
	// An attempt that was canceled says nothing about the key or its PIN,
	// unless the device has counted it.
	if refused := refusalOf(err, pins); ctx.Err() == nil || refused.counted() {
		i.refused, i.failed = refused, failure{}
		if err != nil {
			i.failed = failure{files, time.Now()}
		}
	}
	return g, err
}

func (i *Identity) openChecked(ctx context.Context, files filestate.State) (_ *generation, err error) {
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
	if len(key.Chain()) == 0 && !i.config.KeyOnly {
		return nil, i.withName(signer.ErrNoCertificate)
	}
	return &generation{key: key, files: files, close: sync.OnceValue(func() error {
		err := key.Close()
		if err != nil {
			i.config.Logger.Debug("could not close key", "error", err)
		}
		return err
	})}, nil
}

// Reload opens the key again and replaces the current one if Config.Check
// accepts it. It first waits for a reload in progress. ctx and Config.Timeout
// limit both. On error the current key stays in use. The error is as in [New],
// or [signer.ErrClosed] after Close. It is also logged.
func (i *Identity) Reload(ctx context.Context) error { return i.reload(ctx, nil, slog.LevelWarn) }

// reload is Reload. But if i.attempts differs from seenAttempts, another
// attempt has ended since the caller read it, and reload returns the error of
// that attempt instead. level is that of the record about an error.
func (i *Identity) reload(callerCtx context.Context, seenAttempts *int, level slog.Level) error {
	ctx, cancel := await.Limit(callerCtx, i.config.Timeout)
	defer cancel()
	defer context.AfterFunc(i.done, cancel)()
	select {
	case i.opening <- struct{}{}:
	default:
		select {
		case i.opening <- struct{}{}:
		case <-ctx.Done():
			return i.reloadFailed(callerCtx, level, i.withName(fmt.Errorf("another attempt to open the key is still in progress: %w", context.Cause(ctx))))
		}
	}
	i.mu.Lock()
	closed, attempted, err := i.closed, seenAttempts != nil && i.attempts != *seenAttempts, i.lastErr
	i.mu.Unlock()
	if closed || attempted {
		<-i.opening
		if closed {
			return signer.ErrClosed
		}
		return err
	}
	next, inTime, err := i.openNext(ctx)
	if inTime {
		defer func() { <-i.opening }()
	}
	return i.install(callerCtx, level, next, err)
}

// install makes next the current generation, or records err if next is nil.
func (i *Identity) install(callerCtx context.Context, level slog.Level, next *generation, err error) error {
	i.mu.Lock()
	if i.closed {
		i.mu.Unlock()
		if next != nil {
			_ = i.close(next)
		}
		return signer.ErrClosed
	}
	if err == nil || callerCtx.Err() == nil { // a canceled attempt is not that of other callers
		i.attempts++
		i.lastErr = err
	}
	if err != nil {
		i.mu.Unlock()
		return i.reloadFailed(callerCtx, level, err)
	}
	old := i.current
	i.current, i.open[next] = next, true
	old.retired, i.unavailable = true, false
	idle := i.removeIdle(old)
	i.stats.Reloads++
	i.reloaded, i.reloadErr = i.config.Now(), nil
	i.mu.Unlock()
	if idle {
		_ = i.close(old)
	}
	chain := next.key.Chain()
	if len(chain) == 0 {
		i.config.Logger.Info("reloaded key")
		return nil
	}
	leaf := chain[0]
	i.config.Logger.Info("reloaded key and certificate", "certificate_serial", fmt.Sprintf("%x", leaf.SerialNumber.Bytes()), "not_after", leaf.NotAfter.UTC())
	return nil
}

// reloadFailed counts and logs a failed reload and returns err. After Close it
// only returns [signer.ErrClosed]. A reload whose caller gave up has not failed,
// unless the device has counted a try.
func (i *Identity) reloadFailed(callerCtx context.Context, level slog.Level, err error) error {
	canceled := callerCtx.Err() != nil && !errors.Is(err, signer.ErrTryCounted)
	i.mu.Lock()
	closed := i.closed
	if !closed && !canceled {
		i.stats.FailedReloads++
		i.reloaded, i.reloadErr = i.config.Now(), err
	}
	i.mu.Unlock()
	switch {
	case closed:
		return signer.ErrClosed
	case canceled:
		return err
	}
	i.config.Logger.Log(callerCtx, level, "could not reload key and certificate", logging.Error(err, signer.Hint(err))...)
	return err
}

// removeIdle removes g from i.open if it is retired and no longer used. If it
// returns true, the caller must close g. The caller holds i.mu.
func (i *Identity) removeIdle(g *generation) bool {
	if !g.retired || g.uses > 0 || !i.open[g] {
		return false
	}
	delete(i.open, g)
	return true
}

// close closes the key of g. It waits at most hangTimeout.
func (i *Identity) close(g *generation) error {
	ctx, cancel := context.WithTimeout(context.Background(), hangTimeout)
	defer cancel()
	_, err := await.Result(ctx, func() (struct{}, error) { return struct{}{}, g.close() }, nil)
	if err != nil && ctx.Err() != nil {
		return i.hangError(err)
	}
	return err
}

// Close closes the key, even during a signature, which may be waiting for a
// PIN, and ends calls of Reload and Run. If a device hangs, Close returns an
// error after one second and closes the key in the background. Otherwise it
// returns the error of closing the key. Later calls do nothing.
func (i *Identity) Close() error {
	i.mu.Lock()
	i.closed = true
	i.cancel()
	open := i.open
	i.open = nil
	i.mu.Unlock()
	errs := make(chan error, len(open))
	for g := range open {
		go func() { errs <- i.close(g) }()
	}
	var err error
	for range open {
		err = errors.Join(err, <-errs)
	}
	return err
}

// Chain returns the current certificates, leaf first: at least one, unless
// Config.KeyOnly is set. The caller must not change them.
func (i *Identity) Chain() []*x509.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.current.key.Chain()
}

func (i *Identity) hangError(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: it hangs: %w", signer.ErrUnavailable, err)
	} else {
		err = fmt.Errorf("the device hangs: %w", err)
	}
	return signer.WithHint(i.withName(err),
		"reconnect the device or restart the service that manages it, such as pcscd")
}

func (i *Identity) withName(err error) error {
	if i.config.Name == "" {
		return err
	}
	return fmt.Errorf("%s: %w", i.config.Name, err)
}
