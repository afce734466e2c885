package rotate_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/rotate"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestSignerContract(t *testing.T) {
	key := signertest.Key(t, "rsa2048")
	certs := []*x509.Certificate{signertest.NewCA(t, "root").Issue(t, key, nil)}
	for name, key := range map[string]signer.Signer{
		"any scheme":   &signertest.Fake{Key: key, Certificates: certs},
		"some schemes": &signertest.LimitedFake{Fake: signertest.Fake{Key: key, Certificates: certs}, Schemes: pkcs1},
	} {
		t.Run(name, func(t *testing.T) {
			id := identity(t, rotate.Config{Open: open(key)})
			_, want := key.(signer.SchemeLimiter)
			if _, limited := id.Signer().(signer.SchemeLimiter); limited != want {
				t.Errorf("it is a SchemeLimiter: %t", limited)
			}
			signertest.Run(t, func(*testing.T) signer.Signer { return id.Signer() })
		})
	}
}

// A Signer follows the Identity, and gives the key back after each signature.
func TestSignerFollows(t *testing.T) {
	o := newOpener(t)
	id := o.identity()
	s := id.Signer()
	digest := make([]byte, crypto.SHA256.Size())
	for range 3 {
		old := o.key
		if err := signer.Prove(t.Context(), s, old.Public()); err != nil {
			t.Fatal(err)
		}
		o.new("p256")
		if err := id.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := old.closed.Load(); n != 1 {
			t.Errorf("the old key was closed %d times, want 1", n)
		}
		if !signer.SamePublicKey(s.Public(), o.key.Public()) || !s.Chain()[0].Equal(o.key.Chain()[0]) {
			t.Error("it is not the new key")
		}
	}

	// A device that was unavailable is opened again.
	o.key.err = signer.ErrUnavailable
	if _, err := s.Sign(rand.Reader, digest, crypto.SHA256); !errors.Is(err, signer.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	o.new("p256")
	if _, err := s.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
		t.Error(err)
	}

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := signer.SignContext(canceled, s, rand.Reader, digest, crypto.SHA256); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	other := id.Signer()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sign(rand.Reader, digest, crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if _, err := other.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
		t.Errorf("Close ended the use of another Signer: %v", err)
	}
	if err := id.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Sign(rand.Reader, digest, crypto.SHA256); !errors.Is(err, signer.ErrClosed) {
		t.Errorf("error %v", err)
	}
}
