package rotate_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A failingKey fails to sign while err is set, and counts calls of Close.
type failingKey struct {
	signer.Signer
	err    error
	onSign func() // called by Sign, unless nil
	closed atomic.Int64
}

func (k *failingKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.onSign != nil {
		k.onSign()
	}
	if k.err != nil {
		return nil, k.err
	}
	if k.closed.Load() > 0 {
		return nil, signer.ErrClosed
	}
	return k.Signer.Sign(rand, digest, opts)
}

func (k *failingKey) Close() error {
	k.closed.Add(1)
	return nil
}

// An opener provides the key that an Identity opens next.
type opener struct {
	t        *testing.T
	ca       *signertest.CA
	onOpen   func()    // called by open, unless nil
	notAfter time.Time // expiry of the certificates that new makes; zero: the CA's default
	now      func() time.Time

	mu    sync.Mutex
	key   *failingKey // returned by open
	err   error       // returned by open, unless nil
	opens int
}

// new makes open return a new key with a certificate.
func (o *opener) new(kind string) *failingKey {
	o.t.Helper()
	key := signertest.NewKey(o.t, kind)
	leaf := o.ca.Issue(o.t, key, func(c *x509.Certificate) {
		c.SerialNumber = big.NewInt(0x097a)
		if !o.notAfter.IsZero() {
			c.NotAfter = o.notAfter
		}
	})
	bound, err := signer.Bind(signer.FromKey(key), []*x509.Certificate{leaf}, time.Now())
	if err != nil {
		o.t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.key, o.err = &failingKey{Signer: bound}, nil
	return o.key
}

// fail makes open return err.
func (o *opener) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

func (o *opener) open(context.Context) (signer.Signer, error) {
	if o.onOpen != nil {
		o.onOpen()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opens++
	if o.err != nil {
		return nil, o.err
	}
	return o.key, nil
}

var errExpired = errors.New("the certificate has expired")

func (o *opener) check(key signer.Signer) error {
	if chain := key.Chain(); len(chain) > 0 && o.now().After(chain[0].NotAfter) {
		return errExpired
	}
	return nil
}

func newOpener(t *testing.T) *opener {
	t.Helper()
	o := &opener{t: t, ca: signertest.NewCA(t, "root"), now: time.Now}
	o.new("p256")
	return o
}

// identity returns a new Identity and closes it at the end of the test.
func identity(t *testing.T, config rotate.Config) *rotate.Identity {
	t.Helper()
	id, err := rotate.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { id.Close() })
	return id
}

// open returns a value for Config.Open that returns key.
func open(key signer.Signer) func(context.Context) (signer.Signer, error) {
	return func(context.Context) (signer.Signer, error) { return key, nil }
}

func (o *opener) identity() *rotate.Identity {
	o.t.Helper()
	return identity(o.t, rotate.Config{Open: o.open, Check: o.check, Now: func() time.Time { return o.now() }})
}

// use makes one signature.
func use(ctx context.Context, id *rotate.Identity) error {
	key, err := id.Acquire(ctx)
	if err != nil {
		return err
	}
	defer key.Close()
	_, err = key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	return err
}

func (o *opener) use(id *rotate.Identity, want error, opens int) {
	o.t.Helper()
	if err := use(o.t.Context(), id); !errors.Is(err, want) {
		o.t.Errorf("error %v, want %v", err, want)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.opens != opens {
		o.t.Errorf("opened %d times, want %d", o.opens, opens)
	}
}

func wantStats(t *testing.T, id *rotate.Identity, reloads, failed int) {
	t.Helper()
	if got, want := id.Stats(), (rotate.Stats{Reloads: reloads, FailedReloads: failed}); got != want {
		t.Errorf("stats %+v, want %+v", got, want)
	}
}

// A key whose device is unavailable is closed and opened again. A PIN that is
// incorrect then is not tried again before the next reload.
func TestUnavailableDevice(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	if at, err := id.LastReload(); !at.IsZero() || err != nil {
		t.Errorf("last reload at %v: %v", at, err)
	}
	first := o.key
	o.use(id, nil, 1)
	first.err = fmt.Errorf("gone: %w", signer.ErrUnavailable)
	o.use(id, signer.ErrUnavailable, 1)
	if n := first.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
	o.err = signer.ErrUnavailable
	o.use(id, signer.ErrUnavailable, 2)
	o.use(id, signer.ErrUnavailable, 3)
	o.err = fmt.Errorf("wrong: %w", signer.ErrPINIncorrect)
	o.use(id, signer.ErrPINIncorrect, 4)
	o.use(id, signer.ErrPINIncorrect, 4)
	o.use(id, signer.ErrPINIncorrect, 4)
	if at, err := id.LastReload(); at.IsZero() || !errors.Is(err, signer.ErrPINIncorrect) {
		t.Errorf("last reload at %v: %v", at, err)
	}
	second := o.new("rsa2048")
	if err := id.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, err := id.LastReload(); at.IsZero() || err != nil {
		t.Errorf("last reload at %v: %v", at, err)
	}
	o.use(id, nil, 5)
	wantStats(t, id, 1, 3)
	second.err = signer.ErrUnavailable
	o.use(id, signer.ErrUnavailable, 5)
	third := o.new("p256")
	o.use(id, nil, 6)
	wantStats(t, id, 2, 3)
	id.Close()
	if a, b, c := first.closed.Load(), second.closed.Load(), third.closed.Load(); a != 1 || b != 1 || c != 1 {
		t.Errorf("closed %d, %d and %d times", a, b, c)
	}
}

// A signature may find its device unavailable after the lease was closed or
// after the key was replaced.
func TestUnavailableDeviceDetectedLate(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	acquire := func() signer.Signer {
		key, err := id.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	sign := func(key signer.Signer) {
		t.Helper()
		if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); !errors.Is(err, signer.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	}
	first, use := o.key, acquire()
	first.err = signer.ErrUnavailable
	first.onSign = func() { use.Close() }
	sign(use)
	if n := first.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}

	second := o.new("p256")
	o.use(id, nil, 2)
	use = acquire()
	third := o.new("p256")
	if err := id.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.err = signer.ErrUnavailable
	sign(use)
	o.use(id, nil, 3)
	use.Close()
	if a, b := second.closed.Load(), third.closed.Load(); a != 1 || b != 0 {
		t.Errorf("closed %d and %d times", a, b)
	}
}

// A reopened key may become unavailable again, or the Identity may be closed,
// before the key is lent.
func TestLostBeforeLent(t *testing.T) {
	for _, lost := range []bool{true, false} {
		o := newOpener(t)
		var id *rotate.Identity
		id = identity(t, rotate.Config{Open: o.open, Logger: slog.New(recordFunc(func() {
			o.key.err = signer.ErrUnavailable
			if lost {
				_ = use(t.Context(), id)
			} else {
				id.Close()
			}
		}))})
		o.key.err = signer.ErrUnavailable
		o.use(id, signer.ErrUnavailable, 1)
		o.new("p256")
		want := signer.ErrClosed
		if lost {
			want = signer.ErrUnavailable
		}
		if key, err := id.Acquire(t.Context()); !errors.Is(err, want) {
			t.Errorf("got %v, error %v, want %v", key, err, want)
		}
	}
}

// A recordFunc is a slog.Handler that calls itself for each record.
type recordFunc func()

func (recordFunc) Enabled(context.Context, slog.Level) bool    { return true }
func (l recordFunc) Handle(context.Context, slog.Record) error { l(); return nil }
func (l recordFunc) WithAttrs([]slog.Attr) slog.Handler        { return l }
func (l recordFunc) WithGroup(string) slog.Handler             { return l }

// A key that is replaced while it is in use is closed after that use.
func TestReplaceInUse(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	first := o.key
	first.onSign = func() {
		second := o.new("p256")
		if err := id.Reload(t.Context()); err != nil {
			t.Error(err)
		}
		second.onSign = nil
		if n := first.closed.Load(); n != 0 {
			t.Error("closed while it was in use")
		}
		first.onSign = nil
	}
	o.use(id, nil, 2)
	if n := first.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
	id.Close()
	if n := o.key.closed.Load(); n != 1 {
		t.Errorf("second key: closed %d times", n)
	}
}

// Close closes the key immediately, even while it is in use, and only once.
// After that no key is opened.
func TestCloseInUse(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	first := o.key
	first.onSign = func() {
		id.Close()
		if n := first.closed.Load(); n != 1 {
			t.Errorf("closed %d times while it was in use", n)
		}
	}
	o.use(id, signer.ErrClosed, 1)
	o.new("p256")
	if err := id.Reload(t.Context()); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("reload: %v", err)
	}
	o.use(id, signer.ErrClosed, 1)
	if err := id.Run(t.Context()); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("run: %v", err)
	}
	if err := id.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if n := first.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
	if len(id.Chain()) != 1 {
		t.Error("Chain after Close returns no certificate")
	}
	wantStats(t, id, 0, 0)
}

// If the Identity is closed while a new key is being opened, both keys are
// closed.
func TestCloseWhileOpening(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	first := o.key
	second := o.new("p256")
	o.onOpen = func() { id.Close() }
	if err := id.Reload(t.Context()); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("reload: %v", err)
	}
	if a, b := first.closed.Load(), second.closed.Load(); a != 1 || b != 1 {
		t.Errorf("closed %d and %d times", a, b)
	}
}

// Close also closes a replaced key that is still in use.
func TestCloseWhileDraining(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	first := o.key
	key, err := id.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := o.new("p256")
	if err := id.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := first.closed.Load(); n != 0 {
		t.Errorf("closed %d times while it was in use", n)
	}
	id.Close()
	key.Close()
	if a, b := first.closed.Load(), second.closed.Load(); a != 1 || b != 1 {
		t.Errorf("closed %d and %d times", a, b)
	}
}

// A new key that cannot be used is closed, and the current key stays in use.
func TestCheck(t *testing.T) {
	refused := errors.New("refused")
	for _, c := range []struct {
		name  string
		check func(signer.Signer) error
		err   error
	}{
		{"by the caller", func(signer.Signer) error { return refused }, refused},
		{"without a certificate", nil, signer.ErrNoCertificate},
	} {
		o := newOpener(t)
		var check func(signer.Signer) error
		id := identity(t, rotate.Config{Open: o.open, Name: "the key", Check: func(key signer.Signer) error {
			if check == nil {
				return nil
			}
			return check(key)
		}})
		check = c.check
		first := o.key
		bad := o.new("p256")
		bad.Signer = signer.FromKey(signertest.NewKey(t, "p256")) // without a certificate
		if err := id.Reload(t.Context()); !errors.Is(err, c.err) {
			t.Errorf("%s: error %v", c.name, err)
		}
		if a, b := first.closed.Load(), bad.closed.Load(); a != 0 || b != 1 {
			t.Errorf("%s: closed %d and %d times", c.name, a, b)
		}
		o.use(id, nil, 2)
		wantStats(t, id, 0, 1)
	}
}

// New closes a key that Check rejects.
func TestNewChecks(t *testing.T) {
	o := newOpener(t)
	refused := errors.New("refused")
	if _, err := rotate.New(t.Context(), rotate.Config{Open: o.open, Check: func(signer.Signer) error { return refused }}); !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
	if n := o.key.closed.Load(); n != 1 {
		t.Errorf("closed %d times", n)
	}
	if _, err := rotate.New(t.Context(), rotate.Config{}); err == nil {
		t.Error("no error without Open")
	}
}

// Acquire tries to reload an expired certificate before each use, and uses the
// renewed one.
func TestExpired(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	o.use(id, nil, 1)
	first := o.key
	end := first.Chain()[0].NotAfter
	o.now = func() time.Time { return end.Add(time.Second) }
	second := o.new("p256")
	second.Signer = first.Signer // not renewed
	o.use(id, nil, 2)
	if a, b := first.closed.Load(), second.closed.Load(); a != 0 || b != 1 {
		t.Errorf("not renewed: closed %d and %d times", a, b)
	}
	o.err = fmt.Errorf("wrong: %w", signer.ErrPINIncorrect)
	o.use(id, nil, 3)
	o.use(id, nil, 3) // the PIN is not tried again
	o.notAfter = end.AddDate(1, 0, 0)
	o.new("p256")
	if err := id.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	o.use(id, nil, 4)
	o.use(id, nil, 4)
	if n := first.closed.Load(); n != 1 {
		t.Errorf("renewed: closed %d times", n)
	}
	if end := id.Chain()[0].NotAfter; !end.Equal(o.notAfter) {
		t.Errorf("the certificate expires at %v, want %v", end, o.notAfter)
	}
	wantStats(t, id, 1, 2)
}

// A key whose Close hangs does not block Close of the Identity.
func TestCloseHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOpener(t)
		never := make(chan struct{})
		defer close(never)
		id, err := rotate.New(t.Context(), rotate.Config{Name: "the key", Open: open(hangingKey{o.key, never})})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		err = id.Close()
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("Close took %v", took)
		}
		if !errors.Is(err, context.DeadlineExceeded) || err.Error() != "the key: device is not available: it hangs: context deadline exceeded" || !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
			t.Errorf("error %v", err)
		}
	})
}

// The Close of a hangingKey blocks until release is closed.
type hangingKey struct {
	signer.Signer
	release <-chan struct{}
}

func (k hangingKey) Close() error {
	<-k.release
	return nil
}

// A device that hangs while it is opened blocks no caller for longer than the
// timeout. Only one call opens it at a time, and a key that is returned too
// late is closed.
func TestOpenHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOpener(t)
		first := o.key
		release := make(chan struct{})
		var opens, most, now atomic.Int64
		id, err := rotate.New(t.Context(), rotate.Config{Name: "the key", Timeout: 10 * time.Second, Open: func(context.Context) (signer.Signer, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			if opens.Add(1) > 1 {
				<-release
			}
			return o.key, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		late := o.new("p256")
		running, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- id.Run(running) }()
		for _, want := range []string{"the key: device is not available: it hangs: context deadline exceeded", "the key: another attempt to open the key is still in progress: context deadline exceeded"} {
			begin := time.Now()
			err := id.Reload(t.Context())
			if took := time.Since(begin); took > 11*time.Second || !errors.Is(err, context.DeadlineExceeded) || err.Error() != want {
				t.Errorf("%v after %v, want %s", err, took, want)
			}
		}
		if err := use(t.Context(), id); err != nil {
			t.Errorf("first key: %v", err)
		}
		id.RequestReload()
		synctest.Wait()
		stop()
		begin := time.Now()
		if err := <-done; !errors.Is(err, context.Canceled) || time.Since(begin) > 2*time.Second {
			t.Errorf("Run ended with %v after %v", err, time.Since(begin))
		}
		close(release)
		synctest.Wait()
		if a, b := first.closed.Load(), late.closed.Load(); a != 0 || b != 1 {
			t.Errorf("closed %d and %d times", a, b)
		}
		third := o.new("p256")
		if err := id.Reload(t.Context()); err != nil {
			t.Error(err)
		}
		if n := most.Load(); n != 1 {
			t.Errorf("%d concurrent calls of Open", n)
		}
		id.Close()
		if a, b := first.closed.Load(), third.closed.Load(); a != 1 || b != 1 {
			t.Errorf("closed %d and %d times", a, b)
		}
	})
}

// New returns at the timeout, or after ctx has ended, even if the device hangs.
func TestNewHangs(t *testing.T) {
	for _, c := range []struct {
		timeout, after time.Duration // after this time New returns
		err            error
		text           string
	}{
		{0, 31 * time.Second, signer.ErrUnavailable, "the key: device is not available: it hangs: context deadline exceeded"},
		{5 * time.Second, 6 * time.Second, signer.ErrUnavailable, "the key: device is not available: it hangs: context deadline exceeded"},
		{time.Hour, 61 * time.Second, context.Canceled, "the key: the device hangs: context canceled"},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := newOpener(t)
			release := make(chan struct{})
			ctx, cancel := context.WithCancel(t.Context())
			begin := time.Now()
			stop := time.AfterFunc(time.Minute, cancel)
			defer stop.Stop()
			_, err := rotate.New(ctx, rotate.Config{Name: "the key", Timeout: c.timeout, Open: func(context.Context) (signer.Signer, error) {
				<-release
				return o.key, nil
			}})
			if after := time.Since(begin); !errors.Is(err, c.err) || err.Error() != c.text || after != c.after {
				t.Errorf("error %v after %v", err, after)
			}
			close(release)
			synctest.Wait()
			if n := o.key.closed.Load(); n != 1 {
				t.Errorf("closed %d times", n)
			}
		})
	}
}

// Close ends a reload whose Open respects its context.
func TestCloseEndsReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOpener(t)
		id := identity(t, rotate.Config{Open: func(ctx context.Context) (signer.Signer, error) {
			if o.opens++; o.opens > 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return o.key, nil
		}})
		done := make(chan error, 2)
		for range cap(done) { // the second waits for the first
			go func() { done <- id.Reload(context.Background()) }()
		}
		synctest.Wait()
		begin := time.Now()
		id.Close()
		for range cap(done) {
			if err := <-done; !errors.Is(err, signer.ErrClosed) || time.Since(begin) > 0 {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
		}
	})
}

// Concurrent borrowers of a device that is available again share one attempt to
// open it. An attempt that one borrower cancels counts for the others only if
// it succeeds.
func TestAcquireSharesOneReopening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOpener(t)
		var opens atomic.Int64
		cancelable := true
		id := identity(t, rotate.Config{Open: func(ctx context.Context) (signer.Signer, error) {
			if opens.Add(1) > 1 {
				done := ctx.Done()
				if !cancelable {
					done = nil
				}
				select {
				case <-time.After(500 * time.Millisecond):
				case <-done:
					return nil, ctx.Err()
				}
			}
			return o.key, o.err
		}})
		lose := func() {
			t.Helper()
			o.key.err = signer.ErrUnavailable
			if err := use(t.Context(), id); !errors.Is(err, signer.ErrUnavailable) {
				t.Fatalf("error %v", err)
			}
		}
		all := func(ctx context.Context, want error, wantOpens int64) {
			t.Helper()
			before := opens.Load()
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					if err := use(ctx, id); !errors.Is(err, want) {
						t.Errorf("error %v, want %v", err, want)
					}
				})
			}
			wg.Wait()
			if n := opens.Load() - before; n != wantOpens {
				t.Errorf("opened %d times, want %d", n, wantOpens)
			}
		}
		lose()
		o.err = errors.ErrUnsupported
		all(t.Context(), errors.ErrUnsupported, 1)
		o.new("p256")
		all(t.Context(), nil, 1)

		for _, cancelable = range []bool{true, false} {
			lose()
			o.new("p256")
			short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			done := make(chan error, 1)
			go func() { done <- use(short, id) }()
			synctest.Wait()
			if cancelable {
				all(t.Context(), nil, 1)
			} else {
				all(t.Context(), nil, 0)
			}
			if err := <-done; cancelable != errors.Is(err, context.DeadlineExceeded) || cancelable != (err != nil) {
				t.Errorf("error %v", err)
			}
		}
	})
}

// While the key is replaced repeatedly, each borrower signs with an open key
// that matches its certificate.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // so that no timeout applies
		ca := signertest.NewCA(t, "root")
		fakes := make(chan *signertest.Fake, 1000)
		id := identity(t, rotate.Config{Open: func(context.Context) (signer.Signer, error) {
			key := signertest.NewKey(t, "p256")
			f := &signertest.Fake{Key: key, Certificates: []*x509.Certificate{ca.Issue(t, key, nil)}}
			fakes <- f
			return f, nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		var borrowers sync.WaitGroup
		for range 8 {
			borrowers.Go(func() {
				for ctx.Err() == nil {
					key, err := id.Acquire(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
						t.Error(err)
					}
					if !signer.SamePublicKey(key.Public(), key.Chain()[0].PublicKey) {
						t.Error("the certificate is for another key")
					}
					key.Close()
				}
			})
		}
		for range 50 {
			if err := id.Reload(t.Context()); err != nil {
				t.Error(err)
			}
		}
		cancel()
		borrowers.Wait()
		id.Close()
		close(fakes)
		for f := range fakes {
			if n := f.Closes(); n != 1 {
				t.Errorf("closed %d times", n)
			}
		}
	})
}

// The result of Acquire fulfills the contract of Signer. Closing it does not
// close the key for other borrowers, and closing it again has no effect.
func TestLeaseIsASigner(t *testing.T) {
	for _, limited := range []bool{false, true} {
		t.Run(fmt.Sprintf("limited=%t", limited), func(t *testing.T) {
			key := signertest.Key(t, "rsa2048")
			fake := &signertest.LimitedFake{Fake: signertest.Fake{Key: key, Certificates: []*x509.Certificate{signertest.NewCA(t, "root").Issue(t, key, nil)}}}
			fake.Schemes = pkcs1
			id := identity(t, rotate.Config{Open: open(&fake.Fake)})
			if limited {
				id = identity(t, rotate.Config{Open: open(fake)})
			}
			acquire := func(t *testing.T) signer.Signer {
				key, err := id.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				return key
			}
			if _, ok := acquire(t).(signer.SchemeLimiter); ok != limited {
				t.Errorf("is a SchemeLimiter: %t, want %t", ok, limited)
			}
			signertest.Run(t, acquire)
			one, other := acquire(t), acquire(t)
			if err := errors.Join(one.Close(), one.Close()); err != nil {
				t.Error(err)
			}
			if _, err := other.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil || fake.Closes() != 0 {
				t.Errorf("another borrower: %v; closed %d times", err, fake.Closes())
			}
		})
	}
}

// A lease passes a message on to a key that takes no digests, and treats it like any
// other signature.
func TestLeaseSignsMessages(t *testing.T) {
	for _, test := range []struct {
		kind    string
		limited bool
	}{{"rsa2048", false}, {"rsa2048", true}, {"p256", false}} {
		key := signertest.Key(t, test.kind)
		certs := []*x509.Certificate{signertest.NewCA(t, "root").Issue(t, key, nil)}
		unavailable, opens := false, 0
		id := identity(t, rotate.Config{Open: func(context.Context) (signer.Signer, error) {
			opens++
			fake := &signertest.MessageFake{Fake: signertest.Fake{Key: key, Certificates: certs, OnSign: func(int) error {
				if unavailable {
					return signer.ErrUnavailable
				}
				return nil
			}}}
			if test.limited {
				return limitedMessages{fake}, nil
			}
			return fake, nil
		}})
		acquire := func() signer.Signer {
			lease, err := id.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return lease
		}
		lease := acquire()
		for name, s := range map[string]signer.Signer{"a lease": lease, "Signer": id.Signer()} {
			if got := signer.SignsMessagesOnly(s); got != test.limited {
				t.Errorf("%+v: %s signs only messages: %t", test, name, got)
			}
			if got := signer.PSSSaltLengths(s, crypto.SHA384); (got != nil) != test.limited {
				t.Errorf("%+v: %s has salts of %d bytes", test, name, got)
			}
		}
		if err := signer.Prove(t.Context(), lease, key.Public()); err != nil {
			t.Errorf("%+v: %v", test, err)
		}
		digest := sha256.Sum256([]byte("message"))
		sig, err := crypto.SignMessage(lease, rand.Reader, []byte("message"), crypto.SHA256)
		m, _ := signer.MechanismFor(key.Public(), digest[:], crypto.SHA256)
		if err != nil || !signer.Verifies(key.Public(), m, digest[:], sig) {
			t.Errorf("%+v: SignMessage: %v", test, err)
		}
		if _, err := lease.Sign(rand.Reader, digest[:], crypto.SHA256); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%+v: Sign: %v", test, err)
		}
		if _, err := crypto.SignMessage(lease, rand.Reader, nil, nil); err == nil {
			t.Errorf("%+v: nil options are accepted", test)
		}
		unavailable = true
		if _, err := signer.SignMessage(t.Context(), lease, rand.Reader, nil, crypto.SHA256); !errors.Is(err, signer.ErrUnavailable) {
			t.Errorf("%+v: %v", test, err)
		}
		unavailable = false
		if err := errors.Join(lease.Close(), acquire().Close()); err != nil || opens != 2 {
			t.Errorf("%+v: the key was opened %d times, and not again after it was not available; %v", test, opens, err)
		}
		if _, err := crypto.SignMessage(lease, rand.Reader, nil, crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
			t.Errorf("%+v: after Close: %v", test, err)
		}
	}
}

type limitedMessages struct{ *signertest.MessageFake }

func (limitedMessages) SignatureSchemes() []tls.SignatureScheme { return pkcs1 }
func (limitedMessages) SignsMessagesOnly() bool                 { return true }
func (limitedMessages) PSSSaltLengths(hash crypto.Hash) []int   { return []int{hash.Size()} }

// A deadline ends a SignMessage with a lease.
func TestLeaseMessageDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := signertest.Key(t, "p256")
		release := make(chan struct{})
		fake := &signertest.MessageFake{Fake: signertest.Fake{Key: key, Certificates: []*x509.Certificate{signertest.NewCA(t, "root").Issue(t, key, nil)}, OnSign: func(int) error {
			<-release
			return nil
		}}}
		id, err := rotate.New(t.Context(), rotate.Config{Open: open(fake)})
		if err != nil {
			t.Fatal(err)
		}
		lease, err := id.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := signer.SignMessage(ctx, lease, rand.Reader, nil, crypto.SHA256); !errors.Is(err, signer.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		close(release)
		if err := errors.Join(lease.Close(), id.Close()); err != nil {
			t.Error(err)
		}
	})
}
