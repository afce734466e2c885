package winstore

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// boundOperations are the calls that Windows can hold up.
var boundOperations = map[string]func(context.Context, *fakeSystem, *x509.Certificate) error{
	"open": func(ctx context.Context, f *fakeSystem, _ *x509.Certificate) error {
		k, err := open(ctx, f, Config{})
		if err == nil {
			f.onCall = nil
			err = k.Close()
		}
		return err
	},
	"list": func(ctx context.Context, f *fakeSystem, _ *x509.Certificate) error {
		_, err := list(ctx, f, Config{})
		return err
	},
	"certificates": func(ctx context.Context, f *fakeSystem, _ *x509.Certificate) error {
		_, err := certificates(ctx, f, Config{})
		return err
	},
	"install": func(ctx context.Context, f *fakeSystem, cert *x509.Certificate) error {
		_, err := install(ctx, f, Config{}, keystore.Installation{Certificates: []*x509.Certificate{cert}})
		return err
	},
	"generate": func(ctx context.Context, f *fakeSystem, _ *x509.Certificate) error {
		k, err := generate(ctx, f, Config{Key: "new", Provider: "software"}, keystore.KeySpec{Type: keystore.P256})
		if err == nil {
			f.onCall = nil
			err = k.Close()
		}
		return err
	},
}

// Whichever call of Windows does not return, each operation ends with its context, and
// frees its handles when Windows has responded.
func TestMuteInEachCall(t *testing.T) {
	for name, run := range boundOperations {
		for at, more := 1, true; more; at++ {
			t.Run(fmt.Sprintf("%s/%d", name, at), func(t *testing.T) {
				f, cert, _ := withKey(t, "p256")
				ctx, end := context.WithCancelCause(t.Context())
				n, respond, entered := 0, make(chan struct{}), make(chan struct{})
				f.onCall = func() {
					if n++; n == at {
						close(entered)
						end(context.DeadlineExceeded)
						<-respond
					}
				}
				err := run(ctx, f, cert)
				select {
				case <-entered:
				default:
					if more = false; err != nil || at < 3 {
						t.Errorf("error %v after %d calls", err, at-1)
					}
					return
				}
				if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
					t.Errorf("error %v, hint %q", err, signer.Hint(err))
				}
				close(respond)
				f.waitUntilFreed()
			})
		}
	}
}

// waitUntilFreed waits for the end of calls in the background.
func (f *fakeSystem) waitUntilFreed() {
	for left := 1; left > 0; {
		f.mu.Lock()
		left = f.certs
		for h := range f.open {
			if !f.cached[h] {
				left++
			}
		}
		f.mu.Unlock()
	}
}

// With a context that has ended, nothing calls Windows.
func TestEndedContext(t *testing.T) {
	stop := errors.New("stop")
	ctx, end := context.WithCancelCause(t.Context())
	end(stop)
	for name, run := range boundOperations {
		f, cert, _ := withKey(t, "p256")
		if err := run(ctx, f, cert); !errors.Is(err, stop) || len(f.calls) > 0 {
			t.Errorf("%s: error %v after %v", name, err, f.calls)
		}
	}
}

// Close does not wait for ever for a signature.
func TestCloseDuringMuteSignature(t *testing.T) {
	t.Parallel()
	f, _, _ := withKey(t, "p256")
	k := mustOpen(t, f, Config{})
	begun, respond, signed := make(chan struct{}), make(chan struct{}), make(chan error)
	f.onSign = func() { close(begun); <-respond }
	go func() { _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); signed <- err }()
	<-begun
	if err := k.Close(); !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(err.Error(), "stays open") || signer.Hint(err) == "" {
		t.Errorf("Close: error %v, hint %q", err, signer.Hint(err))
	}
	close(respond)
	if err := <-signed; err != nil {
		t.Errorf("Sign: %v", err)
	}
	f.waitUntilFreed()
}

// With a context that has ended, no signature begins, and the key counts as healthy.
func TestSignContextEnded(t *testing.T) {
	f, _, _ := withKey(t, "p256")
	k := mustOpen(t, f, Config{})
	f.onSign = func() { t.Error("Windows was called") }
	ctx, end := context.WithCancelCause(t.Context())
	end(context.DeadlineExceeded)
	_, err := k.SignContext(ctx, nil, make([]byte, 32), crypto.SHA256)
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, signer.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if k.hung.Load() {
		t.Error("Close would not wait for signatures any more")
	}
}

// A signature that waits for another one does not begin after its context has ended.
func TestSignContextEndedWhileWaiting(t *testing.T) {
	f, _, _ := withKey(t, "p256")
	k := mustOpen(t, f, Config{})
	f.onSign = func() { t.Error("Windows was called") }
	stop := errors.New("stop")
	ctx, end := context.WithCancelCause(t.Context())
	k.mu.Lock()
	end(stop)
	signed := make(chan error)
	go func() { _, err := k.signUnlessEnded(ctx, make([]byte, 32), crypto.SHA256); signed <- err }()
	k.mu.Unlock()
	if err := <-signed; !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
}

// After Close has given up a signature, others fail at once.
func TestSignAfterMuteClose(t *testing.T) {
	f, _, _ := withKey(t, "p256")
	k := mustOpen(t, f, Config{})
	respond, done := make(chan struct{}), make(chan struct{})
	ctx, end := context.WithCancel(t.Context())
	f.onSign = func() { end(); <-respond }
	if _, err := k.SignContext(ctx, nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	go func() {
		defer close(done)
		if _, err := k.Sign(nil, make([]byte, 32), crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
			t.Errorf("error %v", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("Sign waits for a call that does not return")
	}
	close(respond)
	<-done
	f.waitUntilFreed()
}
