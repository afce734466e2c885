package tpm

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

func TestClose(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	cfg := Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(keyPassword)}
	warm := mustOpen(t, cfg, dial)
	mustSign(t, warm)
	if err := warm.Close(); err != nil {
		t.Fatal(err)
	}

	t.Run("waits for Sign", func(t *testing.T) {
		begun, end := make(chan struct{}), make(chan struct{})
		var ended atomic.Bool
		b := &bus{intercept: func(_ int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
			if codeOf(command) == tpm2.TPMCCSign {
				close(begun)
				<-end
				ended.Store(true)
			}
			return send(command)
		}}
		k := mustOpen(t, cfg, b.dial)
		signed, closed := make(chan error), make(chan bool)
		go func() { signed <- trySign(k, "in flight") }()
		<-begun
		go func() { _ = k.Close(); closed <- ended.Load() }()
		select {
		case <-closed:
			t.Fatal("Close did not wait for Sign")
		case <-time.After(20 * time.Millisecond):
		}
		close(end)
		if err := <-signed; err != nil {
			t.Errorf("Sign in flight: %v", err)
		}
		if !<-closed {
			t.Error("Close returned before Sign")
		}
		checkReleased(t, b)
		checkEmpty(t, emulator)
	})

	t.Run("cancels the prompt for a password", inBubble(func(t *testing.T) {
		b := &bus{}
		asking := cfg
		first := true
		asking.PIN = func(ctx context.Context, _ keystore.Prompt) ([]byte, error) {
			if first {
				first = false
				return []byte("wrong"), nil
			}
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		k := mustOpen(t, asking, b.dial)
		wantError(t, "the wrong password", trySign(k, "wrong"), signer.ErrPINIncorrect)
		signed := make(chan error)
		go func() { signed <- trySign(k, "asked") }()
		time.Sleep(time.Hour)
		checkState(t, b, "during the prompt", 3, 3)
		go func() { _ = k.Close() }()
		wantError(t, "Sign", <-signed, signer.ErrClosed)
		synctest.Wait()
		wantError(t, "Sign after Close", trySign(k, "closed"), signer.ErrClosed)
	}))
	resetLockout(t, emulator)

	t.Run("ends the wait for a busy TPM", inBubble(func(t *testing.T) {
		one := newExclusiveTPM()
		k := mustOpen(t, cfg, one.dial)
		time.Sleep(time.Second) // until the key closes the TPM
		one.busy <- struct{}{}
		signed := make(chan error)
		go func() { signed <- trySign(k, "busy") }()
		time.Sleep(time.Second)
		begin := time.Now()
		go func() { _ = k.Close() }()
		wantError(t, "Sign", <-signed, signer.ErrClosed)
		if d := time.Since(begin); d > 100*time.Millisecond {
			t.Errorf("Sign waited %v after Close", d)
		}
	}))

	t.Run("ends the wait for a TPM that serves others", func(t *testing.T) {
		k := mustOpen(t, cfg, dial)
		mustSign(t, k)
		k.mu.Lock()
		k.unload()
		k.mu.Unlock()
		other := openTPM(t, emulator) // swtpm serves it alone
		if _, err := readLockout(other); err != nil {
			t.Fatal(err)
		}
		signed := make(chan error)
		go func() { signed <- trySign(k, "other") }()
		for k.mu.TryLock() { // until Sign waits
			k.mu.Unlock()
			time.Sleep(time.Millisecond)
		}
		begin := time.Now()
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		wantError(t, "Sign", <-signed, signer.ErrClosed)
		if d := time.Since(begin); d > 10*cancelGrace {
			t.Errorf("Close took %v", d)
		}
		// swtpm executes the pending command later, although nobody waits for
		// the response.
		if err := other.close(); err != nil {
			t.Fatal(err)
		}
		d := openTPM(t, emulator)
		flushAll(d)
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("twice, and permanently", inBubble(func(t *testing.T) {
		b := &bus{}
		k := mustOpen(t, cfg, b.dial)
		mustSign(t, k)
		k.SignatureSchemes()
		for range 2 {
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
		}
		opens, closes := b.state()
		time.Sleep(time.Hour)
		checkState(t, b, "an hour after Close", opens, closes)
		if opens != closes {
			t.Errorf("%d devices opened, %d closed", opens, closes)
		}
		wantError(t, "Sign", trySign(k, "closed"), signer.ErrClosed)
		if k.Public() == nil || len(k.SignatureSchemes()) == 0 {
			t.Error("Public or SignatureSchemes does not work after Close")
		}
		checkState(t, b, "after that", opens, closes)
		checkEmpty(t, emulator)
	}))

	// A bubble ends when its last goroutine exits. A leaked goroutine makes
	// this test fail.
	t.Run("leaves no goroutine", inBubble(func(t *testing.T) {
		for range 5 {
			b := &bus{managed: true}
			k := mustOpen(t, cfg, b.dial)
			done := make(chan error)
			for range 4 {
				go func() {
					for {
						if err := trySign(k, "goroutine"); err != nil {
							done <- err
							return
						}
					}
				}()
			}
			mustSign(t, k)
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				wantError(t, "Sign", <-done, signer.ErrClosed)
			}
		}
	}))
}

// A key that cannot be opened leaves no device open.
func TestOpenFails(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	makePersistentParent(t, emulator, 0x81000001, "")
	refused := errors.New("no password")
	for _, test := range []struct {
		name string
		cfg  Config
		want error
	}{
		{"source fails", Config{PEM: pem, PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return nil, refused }}, refused},
		{"source fails for a handle", Config{Handle: 0x81000001}, errors.ErrUnsupported},
		{"no such handle", Config{Handle: 0x81777777}, signer.ErrNotFound},
	} {
		t.Run(test.name, inBubble(func(t *testing.T) {
			b := &bus{}
			test.cfg.Device = emulator.Path
			_, err := open(t.Context(), test.cfg, b.dial)
			wantError(t, "open", err, test.want)
			opens, _ := b.state()
			checkState(t, b, "after an error", opens, opens)
		}))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Open(ctx, Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	wantError(t, "cancelled", err, context.Canceled)
	checkEmpty(t, emulator)
}
