package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// counted are errors after which a device has counted a try, as tokens and TPMs
// report them.
var counted = []error{
	fmt.Errorf("wrong: %w: %w", signer.ErrPINIncorrect, signer.ErrTryCounted),
	fmt.Errorf("forgotten: %w: %w", signer.ErrPINRequired, signer.ErrTryCounted),
	fmt.Errorf("the last one: %w: %w", signer.ErrPINLocked, signer.ErrTryCounted),
}

func (w *watched) writePIN(pin string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(w.file), "pin"), []byte(pin), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// A try that a device has counted is repeated only when the PIN has changed or
// on request: not when the certificate changes, not once a minute, and not by a
// caller of Acquire.
func TestCountedTry(t *testing.T) {
	for _, refused := range counted {
		watch(t, t.TempDir(), func(w *watched) {
			w.fail(refused)
			w.write("changed")
			w.after(time.Hour, 2, 0)
			w.write("changed again")
			w.after(time.Hour, 2, 0)
			w.writePIN("1")
			w.after(time.Hour, 3, 0)
			w.write("changed for the third time")
			w.after(time.Hour, 3, 0)
			w.RequestReload()
			w.after(time.Hour, 4, 0)
			w.new("p256")
			w.after(time.Hour, 4, 0)
			w.writePIN("22")
			w.after(time.Hour, 5, 1)
		})
	}
}

// The loops know of one another's tries: Run does not repeat what Acquire tried,
// and the other way round.
func TestCountedTryAcrossLoops(t *testing.T) {
	for _, refused := range counted {
		watch(t, t.TempDir(), func(w *watched) {
			w.key.err = signer.ErrUnavailable
			w.use(w.Identity, signer.ErrUnavailable, 1)
			w.fail(refused)
			w.write("changed")
			w.use(w.Identity, signer.ErrTryCounted, 2)
			w.after(time.Hour, 2, 0)
			w.use(w.Identity, signer.ErrTryCounted, 2)
			w.RequestReload()
			w.after(time.Hour, 3, 0)
			w.use(w.Identity, signer.ErrTryCounted, 3)
			w.new("p256")
			w.use(w.Identity, signer.ErrTryCounted, 3)
			w.writePIN("1")
			w.use(w.Identity, nil, 4)
		})
	}
}

// A PIN that a device refused for a signature is not tried again by opening the
// key, until a signature succeeds or the PIN changes.
func TestCountedTryOfSignature(t *testing.T) {
	for _, refused := range counted {
		watch(t, t.TempDir(), func(w *watched) {
			w.key.err = refused
			w.use(w.Identity, signer.ErrTryCounted, 1)
			w.write("changed")
			w.after(time.Hour, 1, 0)
			w.key.err = fmt.Errorf("%w: %w", refused, signer.ErrUnavailable)
			w.use(w.Identity, signer.ErrUnavailable, 1)
			w.use(w.Identity, signer.ErrTryCounted, 1)
			w.new("p256")
			w.use(w.Identity, signer.ErrTryCounted, 1)
			w.writePIN("1")
			w.use(w.Identity, nil, 2)
		})
		watch(t, t.TempDir(), func(w *watched) {
			w.key.err = refused
			w.use(w.Identity, signer.ErrTryCounted, 1)
			w.key.err = nil
			w.use(w.Identity, nil, 1)
			w.write("changed")
			w.after(time.Hour, 2, 1)
		})
	}
}

// Run uses a corrected PIN some seconds after its file has changed: once, and
// only if the PIN before was refused.
func TestCorrectedPIN(t *testing.T) {
	const soon = 5 * time.Second
	for _, refused := range append(counted, signer.ErrPINIncorrect, signer.ErrPINLocked) {
		watch(t, t.TempDir(), func(w *watched) { // refused when the device is back
			w.writePIN("1")
			w.after(time.Hour, 1, 0)
			w.key.err = signer.ErrUnavailable
			w.use(w.Identity, signer.ErrUnavailable, 1)
			w.fail(refused)
			w.use(w.Identity, refused, 2)
			w.after(time.Hour, 2, 0)
			w.writePIN("22") // wrong, too
			w.after(soon, 3, 0)
			w.after(time.Hour, 3, 0)
			w.use(w.Identity, refused, 3)
			for n := range 5 { // still being written
				w.writePIN(fmt.Sprintf("33333%0*d", n+1, n))
				w.after(2*time.Second, 3, 0)
			}
			w.new("p256")
			w.after(soon, 4, 1)
			w.use(w.Identity, nil, 4)
			w.writePIN("55555555555")
			w.after(time.Hour, 4, 1)
		})
		watch(t, t.TempDir(), func(w *watched) { // the device is away when the PIN is corrected
			w.key.err = signer.ErrUnavailable
			w.use(w.Identity, signer.ErrUnavailable, 1)
			w.fail(refused)
			w.use(w.Identity, refused, 2)
			w.fail(signer.ErrUnavailable)
			w.writePIN("1")
			w.after(time.Hour, 3, 0)
			w.new("p256")
			w.use(w.Identity, nil, 4)
		})
	}
	for _, refused := range counted { // refused for a signature
		watch(t, t.TempDir(), func(w *watched) {
			w.key.err = refused
			w.use(w.Identity, refused, 1)
			w.after(time.Hour, 1, 0)
			w.new("p256")
			w.writePIN("1")
			w.after(soon, 2, 1)
			w.use(w.Identity, nil, 2)
		})
	}
}

// A reload whose caller gives up is no failed reload, but a try that the device
// counted meanwhile is remembered.
func TestCanceledReloadIsNotAFailure(t *testing.T) {
	o := newOpener(t)
	cancel := func() {}
	pins := filepath.Join(t.TempDir(), "pin")
	id := identity(t, rotate.Config{Open: o.open, PINFiles: []string{pins}})
	o.onOpen = func() { cancel() }
	canceledByOpen := func() context.Context {
		ctx, end := context.WithCancel(t.Context())
		t.Cleanup(end)
		cancel = end
		return ctx
	}
	for _, err := range []error{context.Canceled, signer.ErrUnavailable, signer.ErrPINIncorrect} {
		ctx := canceledByOpen()
		o.fail(err)
		if got := id.Reload(ctx); !errors.Is(got, err) {
			t.Errorf("error %v, want %v", got, err)
		}
		wantStats(t, id, 0, 0)
	}
	ctx := canceledByOpen()
	o.fail(counted[0])
	if err := id.Reload(ctx); !errors.Is(err, signer.ErrTryCounted) {
		t.Errorf("error %v", err)
	}
	wantStats(t, id, 0, 1)
	o.onOpen = nil
	o.key.err = signer.ErrUnavailable
	o.use(id, signer.ErrUnavailable, 5)
	o.use(id, signer.ErrTryCounted, 5)
}
