package signertest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

var digest = make([]byte, 32)

func TestFakeReturnsErrorOfOnSign(t *testing.T) {
	errTouch := errors.New("nobody touched the key")
	f := &Fake{Key: Key(t, "p256"), OnSign: func(n int) error {
		if n == 2 {
			return errTouch
		}
		return nil
	}}
	for n, want := range []error{nil, errTouch, nil} {
		if _, err := f.Sign(rand.Reader, digest, crypto.SHA256); err != want {
			t.Errorf("signature %d: error %v, want %v", n+1, err, want)
		}
	}
	if _, err := f.Sign(rand.Reader, digest, crypto.SHA512); err == nil {
		t.Error("signed a digest of the wrong length")
	}
	if f.Signs() != 3 {
		t.Errorf("Signs returns %d, want 3", f.Signs())
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := f.Sign(rand.Reader, digest, crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("after Close: error %v, want signer.ErrClosed", err)
	}
	if f.Signs() != 3 || f.Closes() != 2 {
		t.Errorf("Signs returns %d and Closes %d, want 3 and 2", f.Signs(), f.Closes())
	}
}

func TestFakeCloseWaitsForSign(t *testing.T) {
	var touched atomic.Bool
	waiting, touch := make(chan struct{}), make(chan struct{})
	f := &Fake{Key: Key(t, "p256"), OnSign: func(int) error {
		close(waiting)
		<-touch
		touched.Store(true)
		return nil
	}}
	signed := make(chan error, 1)
	go func() {
		_, err := f.Sign(rand.Reader, digest, crypto.SHA256)
		signed <- err
	}()
	<-waiting
	closed := make(chan bool, 1)
	go func() {
		f.Close()
		closed <- touched.Load()
	}()
	// Public and Chain must wait neither for Sign nor for Close.
	if f.Public() == nil || f.Chain() != nil {
		t.Error("Public or Chain is wrong while Sign waits")
	}
	close(touch)
	if err := <-signed; err != nil {
		t.Errorf("Sign: %v", err)
	}
	if !<-closed {
		t.Error("Close returned before Sign")
	}
}

func TestOnlyLimitedFakeIsSchemeLimiter(t *testing.T) {
	var s signer.Signer = &Fake{Key: Key(t, "p256")}
	if _, ok := s.(signer.SchemeLimiter); ok {
		t.Error("a Fake is a SchemeLimiter")
	}
	s = &LimitedFake{Fake: Fake{Key: Key(t, "rsa2048")}, Schemes: []tls.SignatureScheme{tls.PSSWithSHA256}}
	if l, ok := s.(signer.SchemeLimiter); !ok || len(l.SignatureSchemes()) != 1 {
		t.Error("a LimitedFake is not a SchemeLimiter with its Schemes")
	}
	tests := []struct {
		name string
		opts crypto.SignerOpts
		want error
	}{
		{"listed", &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}, nil},
		{"another padding", crypto.SHA256, errors.ErrUnsupported},
		{"another salt", &rsa.PSSOptions{SaltLength: 20, Hash: crypto.SHA256}, errors.ErrUnsupported},
	}
	for _, test := range tests {
		if _, err := s.Sign(rand.Reader, digest, test.opts); !errors.Is(err, test.want) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.want)
		}
	}
	s = &LimitedFake{Fake: Fake{Key: Key(t, "p256")}}
	if _, err := s.Sign(rand.Reader, digest, crypto.SHA256); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("no schemes: error %v, want errors.ErrUnsupported", err)
	}
}
