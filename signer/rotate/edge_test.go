package rotate_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A key that is returned during a signature is closed after the signature.
func TestReturnedWhileSigning(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	key, err := id.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first := o.key
	first.onSign = func() {
		key.Close()
		o.new("p256")
		if err := id.Reload(t.Context()); err != nil {
			t.Error(err)
		}
		if n := first.closed.Load(); n != 0 {
			t.Errorf("closed %d times during a signature", n)
		}
	}
	if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil {
		t.Error(err)
	}
	if n := first.closed.Load(); n != 1 {
		t.Errorf("closed %d times after the signature, want 1", n)
	}
	if _, err := key.Sign(rand.Reader, make([]byte, 32), crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("Sign after Close: error %v", err)
	}
}

// A canceled reload does not try a PIN. It also does not make Acquire try an
// incorrect PIN again.
func TestCanceledReload(t *testing.T) {
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
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if err := id.Reload(canceled); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled reload: error %v", err)
		}
	}
	if o.opens != 2 {
		t.Errorf("opened %d times, want 2", o.opens)
	}
}

// A key without a certificate is refused, unless the Config allows it. It is opened again
// as others are.
func TestKeyOnly(t *testing.T) {
	first, next := &signertest.Fake{Key: signertest.Key(t, "p256")}, &signertest.Fake{Key: signertest.Key(t, "p256")}
	first.OnSign = func(int) error { return signer.ErrUnavailable }
	keys := []signer.Signer{&signertest.Fake{Key: first.Key}, first, next}
	config := rotate.Config{Open: func(context.Context) (signer.Signer, error) {
		key := keys[0]
		keys = keys[1:]
		return key, nil
	}}
	if _, err := rotate.New(t.Context(), config); !errors.Is(err, signer.ErrNoCertificate) {
		t.Errorf("error %v", err)
	}
	config.KeyOnly = true
	id := identity(t, config)
	for _, want := range []error{signer.ErrUnavailable, nil} {
		if _, err := id.Signer().Sign(rand.Reader, make([]byte, 32), crypto.SHA256); !errors.Is(err, want) {
			t.Errorf("error %v, want %v", err, want)
		}
	}
	if len(id.Chain()) != 0 {
		t.Error("it has certificates")
	}

	expired := signertest.NewCA(t, "root").Issue(t, first.Key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	keys = []signer.Signer{&signertest.Fake{Key: first.Key, Certificates: []*x509.Certificate{expired}}}
	id = identity(t, config)
	if _, err := id.Signer().Sign(rand.Reader, make([]byte, 32), crypto.SHA256); err != nil || len(keys) != 0 {
		t.Errorf("a key with an expired certificate: %v", err)
	}
}

func TestInvalidUse(t *testing.T) {
	if _, err := rotate.New(t.Context(), rotate.Config{Open: open(nil)}); err == nil {
		t.Error("New accepts a nil key")
	}
	id := newOpener(t).identity()
	if _, err := id.GetCertificate(&tls.ClientHelloInfo{}); err == nil {
		t.Error("GetCertificate accepts a handshake without a context")
	}
	if _, err := id.GetClientCertificate(&tls.CertificateRequestInfo{}); err == nil {
		t.Error("GetClientCertificate accepts a handshake without a context")
	}
}

// An error that Acquire returns is not logged as a warning, because its caller reports it.
func TestErrorIsReportedOnce(t *testing.T) {
	o := newOpener(t)
	var log bytes.Buffer
	id := identity(t, rotate.Config{Open: o.open, Now: func() time.Time { return o.now() },
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	warnings := func(want int) {
		t.Helper()
		if n := strings.Count(log.String(), "\n"); n != want {
			t.Errorf("%d warnings, want %d:\n%s", n, want, &log)
		}
	}
	o.err = errors.New("not now")
	end := id.Chain()[0].NotAfter
	o.now = func() time.Time { return end.Add(time.Second) }
	o.use(id, nil, 2)
	warnings(1) // the expired certificate is lent
	o.key.err = signer.ErrUnavailable
	o.use(id, signer.ErrUnavailable, 3)
	warnings(2)
	for opens := range 3 {
		o.use(id, o.err, 4+opens)
	}
	warnings(2)
	if err := id.Reload(t.Context()); !errors.Is(err, o.err) {
		t.Error(err)
	}
	warnings(3)
}
