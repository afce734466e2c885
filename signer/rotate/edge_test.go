package rotate_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
)

// A key that was given back in the middle of its signature is closed after that.
func TestGivenBackWhileSigning(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	key, err := id.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := o.key
	first.during = func() {
		key.Close()
		o.new("p256")
		if err := id.Reload(t.Context()); err != nil {
			t.Error(err)
		}
		if n := first.closed.Load(); n != 0 {
			t.Errorf("closed %d times in the middle of a signature", n)
		}
	}
	if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
		t.Error(err)
	}
	if n := first.closed.Load(); n != 1 {
		t.Errorf("closed %d times after it", n)
	}
	if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("error %v of a signature after Close", err)
	}
}

// A reload that is called off tries no PIN, and does not have one that was
// refused tried again.
func TestReloadThatIsCalledOff(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	key, err := id.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o.key.err = signer.ErrUnavailable
	_, _ = key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256)
	key.Close()
	o.fail(signer.ErrPINIncorrect)
	for range 3 {
		if _, err := id.Acquire(t.Context()); !errors.Is(err, signer.ErrPINIncorrect) {
			t.Errorf("error %v", err)
		}
		called, off := context.WithCancel(t.Context())
		off()
		if err := id.Reload(called); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v of a reload that was called off", err)
		}
	}
	if o.opens != 2 {
		t.Errorf("opened %d times, want 2", o.opens)
	}
}

func TestMistakesOfCallers(t *testing.T) {
	if _, err := rotate.New(t.Context(), rotate.Config{Open: open(nil)}); err == nil {
		t.Error("no key is taken for one")
	}
	id := newOpener(t).identity()
	if _, err := id.GetCertificate(&tls.ClientHelloInfo{}); err == nil {
		t.Error("a key is lent to nobody")
	}
	if _, err := id.GetClientCertificate(&tls.CertificateRequestInfo{}); err == nil {
		t.Error("a key is lent to nobody")
	}
}
