package pkcs11

import (
	"crypto"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestConcurrentLosses(t *testing.T) {
	var codes []Error
	for _, e := range errorKinds.Keys() {
		// Reconnecting does not help if the module was finalized or lost its
		// slots.
		if errorKinds.Get(e).lost && e != ckrCryptokiNotInitialized && e != ckrSlotIDInvalid {
			codes = append(codes, e)
		}
	}
	if len(codes) < 8 {
		t.Fatalf("only %v mean a loss", codes)
	}
	for _, always := range []bool{false, true} {
		t.Run(fmt.Sprintf("always=%v", always), func(t *testing.T) {
			t.Parallel()
			token := newFakeToken("hsm")
			o := token.addKey(signertest.Key(t, "p256"), "key", "\x01")
			if always {
				o.values[ckaAlwaysAuthenticate] = []byte{1}
			}
			b := newFixture(t, token)
			k := b.mustOpen(t, "pkcs11:object=key", Config{PIN: fixedPIN(fakePIN)})
			injected, forgotten := 0, 0
			inject := func() Error {
				injected++
				e := codes[injected%len(codes)]
				if removed(e) {
					forgotten++
				}
				return e
			}
			b.mu.Lock()
			b.before = func(call string, n int, _ []byte) Error {
				switch call {
				case "sign", "sign2":
					// A removal makes all current signatures fail. It is rare
					// enough that no signature fails maxAttempts times.
					if n%40 == 0 {
						return inject()
					}
				case "attributes", "find", "openSession":
					if n%101 == 0 {
						return inject()
					}
				}
				return 0
			}
			b.mu.Unlock()
			const goroutines = 8
			signatures := 1000
			if testing.Short() {
				signatures = 100
			}
			var wg sync.WaitGroup
			for g := range goroutines {
				wg.Go(func() {
					for i := range signatures {
						digest := digestOf(g<<32 | i)
						sig, err := k.Sign(nil, digest, crypto.SHA256)
						if err == nil {
							err = check(k.Public(), digest, sig)
						}
						if err != nil {
							t.Errorf("signature %d of goroutine %d: %v", i, g, err)
							return
						}
					}
				})
			}
			wg.Wait()
			if injected == 0 || token.wrong != 0 {
				t.Errorf("%d losses, %d wrong PINs", injected, token.wrong)
			}
			b.mu.Lock()
			b.before = nil
			b.mu.Unlock()
			if err := k.Close(); err != nil {
				t.Error(err)
			}
			// After a removal the Key leaves the sessions to the module. The
			// fake closes them only if the failed call had a session.
			if left := b.opened - b.closed; left < 0 || left > forgotten*defaultMaxSessions {
				t.Errorf("%d sessions opened, %d closed, %d removals", b.opened, b.closed, forgotten)
			}
		})
	}
}

// Each error that does not mean a loss is returned to one caller.
func TestConcurrentErrors(t *testing.T) {
	token := newFakeToken("hsm")
	token.addKey(signertest.Key(t, "p256"), "key", "\x01")
	b := newFixture(t, token)
	k := b.mustOpen(t, "pkcs11:object=key", Config{PIN: fixedPIN(fakePIN)})
	var codes []Error
	for _, e := range errorKinds.Keys() {
		if !errorKinds.Get(e).lost {
			codes = append(codes, e)
		}
	}
	codes = append(codes, 0x51, 0x80000001)
	injected := make(map[Error]int)
	b.before = func(call string, n int, _ []byte) Error {
		if call != "sign2" || n%9 != 0 {
			return 0
		}
		e := codes[n/9%len(codes)]
		injected[e]++
		return e
	}
	var mu sync.Mutex
	seen := make(map[Error]int)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				digest := digestOf(g<<32 | i)
				sig, err := k.Sign(nil, digest, crypto.SHA256)
				var e Error
				switch {
				case errors.As(err, &e):
					mu.Lock()
					seen[e]++
					mu.Unlock()
				case err != nil:
					t.Error(err)
				default:
					if err := check(k.Public(), digest, sig); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if !maps.Equal(seen, injected) {
		t.Errorf("errors %v, want %v", seen, injected)
	}
	if token.logins != 1 {
		t.Errorf("%d logins, want 1: the last session was closed before another was open", token.logins)
	}
	if b.maxOpen > defaultMaxSessions+1 {
		t.Errorf("%d sessions at the same time", b.maxOpen)
	}
}

func TestGivesUp(t *testing.T) {
	for _, e := range []Error{ckrDeviceError, ckrSessionHandleInvalid, ckrKeyHandleInvalid, ckrDeviceRemoved, ckrUserNotLoggedIn, ckrGeneralError} {
		token := newFakeToken("hsm")
		token.addKey(signertest.Key(t, "p256"), "key", "\x01")
		b := newFixture(t, token)
		k := b.mustOpen(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
		if err := signOnce(k); err != nil {
			t.Fatal(err)
		}
		b.before = func(call string, _ int, _ []byte) Error {
			if call == "sign" {
				return e
			}
			return 0
		}
		before := b.called("sign")
		if err := signOnce(k); !errors.Is(err, e) {
			t.Errorf("error %v, want %v", err, e)
		}
		if n := b.called("sign") - before; n != maxAttempts {
			t.Errorf("%v: %d attempts", e, n)
		}
		b.before = nil
		if err := signOnce(k); err != nil {
			t.Errorf("after %v: %v", e, err)
		}
	}
}
