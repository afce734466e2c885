package pkcs11

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestRemoval(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newFixture(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	if err := signOnce(k); err != nil {
		t.Fatal(err)
	}
	b.remove(0)
	for range 2 {
		if err := signOnce(k); !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
			t.Errorf("without the token: error %v, hint %q", err, signer.Hint(err))
		}
	}
	// Another token with a key of the same name does not make the URI
	// ambiguous.
	other := newFakeToken("other")
	other.addKey(signertest.NewKey(t, "p256"), "key", "\x01")
	b.insert(3, other)
	b.insert(7, token)
	if err := signOnce(k); err != nil {
		t.Errorf("with the token in another slot: %v", err)
	}
	if n := b.openSessions(); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
	if got := uriOf(t, k); got.Token != "card" || got.Object != "key" || got.ID != "\x01" {
		t.Errorf("URI %v", got)
	}
}

func TestKeyReplaced(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newFixture(t, token)
	k := b.mustOpen(t, "pkcs11:object=key", Config{PIN: fixedPIN(fakePIN)})
	b.remove(0)
	objects := token.objects
	token.objects = nil
	token.addKey(signertest.NewKey(t, "p256"), "key", "\x01")
	b.insert(0, token)
	for range 2 {
		if err := signOnce(k); !errors.Is(err, signer.ErrUnavailable) {
			t.Errorf("error %v, want signer.ErrUnavailable", err)
		}
	}
	if n := b.openSessions(); n != 0 {
		t.Errorf("%d sessions are left open", n)
	}
	b.remove(0)
	token.objects = objects
	b.insert(0, token)
	if err := signOnce(k); err != nil {
		t.Errorf("after the key was restored: %v", err)
	}
}

// A key that is added to the token does not make the URI ambiguous.
func TestKeyAdded(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newFixture(t, token)
	k := b.mustOpen(t, "pkcs11:token=card", Config{PIN: fixedPIN(fakePIN)})
	b.remove(0)
	token.addKey(signertest.NewKey(t, "p256"), "new", "\x02")
	b.insert(0, token)
	if err := signOnce(k); err != nil {
		t.Error(err)
	}
}

// Another part of the process logs out.
func TestLoggedOut(t *testing.T) {
	token := newFakeToken("card")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newFixture(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	token.loggedIn = false
	if err := signOnce(k); err != nil || token.logins != 2 {
		t.Errorf("error %v after %d logins", err, token.logins)
	}
}

func TestReconnectsOnce(t *testing.T) {
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newFixture(t, token)
	const goroutines = 8
	var asked atomic.Int32
	k := b.mustOpen(t, "pkcs11:", Config{MaxSessions: goroutines, PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
		asked.Add(1)
		return []byte(fakePIN), nil
	}})
	// The token is removed while all goroutines are signing.
	var in, out sync.WaitGroup
	in.Add(goroutines)
	pulled := make(chan struct{})
	var n atomic.Int32
	token.onSign = func() {
		if n.Add(1) <= goroutines {
			in.Done()
			<-pulled
		}
	}
	for range goroutines {
		out.Go(func() {
			if err := signOnce(k); err != nil {
				t.Error(err)
			}
		})
	}
	in.Wait()
	b.remove(0)
	b.insert(1, token)
	close(pulled)
	out.Wait()
	if token.logins != 2 || asked.Load() != 2 {
		t.Errorf("%d logins with %d PINs, want 2: one for Open, one for the loss", token.logins, asked.Load())
	}
}

// The loss of one of several sessions does not require another login.
func TestLossOfOneSessionKeepsLogin(t *testing.T) {
	for _, limit := range []int{0, 2} {
		token := newFakeToken("hsm")
		token.limit = limit
		token.addKey(signertest.Key(t, "p256"), "key", "\x01")
		b := newFixture(t, token)
		k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
		for range 3 {
			b.fail("sign", ckrDeviceError)
			if err := signOnce(k); err != nil {
				t.Error(err)
			}
		}
		if token.logins != 1 {
			t.Errorf("limit %d: %d logins, want 1", limit, token.logins)
		}
		if n := b.openSessions(); n != 1 {
			t.Errorf("limit %d: %d sessions, want 1", limit, n)
		}
	}
}

// The token refuses new sessions while the sessions of the lost connection are
// still in use.
func TestReconnectAtSessionLimit(t *testing.T) {
	token := newFakeToken("hsm")
	token.limit = 2
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newFixture(t, token)
	k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			for range 50 {
				if g == 0 {
					b.fail("sign", ckrDeviceError)
				}
				if err := signOnce(k); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := b.openSessions(); n > 2 {
		t.Errorf("%d sessions", n)
	}
}
