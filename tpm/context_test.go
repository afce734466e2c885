package tpm

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

var (
	_ signer.ContextSigner = (*Key)(nil)
	_ signer.SaltLimiter   = (*Key)(nil)
)

// signUntil signs until ctx ends.
func signUntil(ctx context.Context, k *Key) error {
	digest := sha256.Sum256([]byte("context"))
	sig, err := signer.SignContext(ctx, k, nil, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	return verify(k.Public(), digest[:], sig)
}

// wantEnded checks the error of a call that d of waiting ended.
func wantEnded(t *testing.T, what string, err error, begin time.Time, d time.Duration) {
	t.Helper()
	wantError(t, what, err, context.DeadlineExceeded)
	if after := time.Since(begin); after > d+cancelGrace {
		t.Errorf("%s: ended after %v, want %v and %v of grace", what, after, d, cancelGrace)
	}
}

// A mute makes the TPM mute for one kind of command, until it is cleared.
type mute struct {
	code  tpm2.TPMCC
	on    atomic.Bool
	begun chan struct{} // receives a value for each command that gets no response
	end   chan struct{}
}

func newMute(code tpm2.TPMCC) *mute {
	m := &mute{code: code, begun: make(chan struct{}, 10), end: make(chan struct{})}
	m.on.Store(true)
	return m
}

func (m *mute) intercept(_ int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
	if codeOf(command) == m.code && m.on.Load() {
		m.begun <- struct{}{}
		<-m.end
	}
	return send(command)
}

// A TPM that stops responding ends a signature soon after its context, at each
// command, and the next signature works.
func TestMuteDuringSign(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	for _, code := range []tpm2.TPMCC{tpm2.TPMCCGetCapability, tpm2.TPMCCCreatePrimary, tpm2.TPMCCLoad, tpm2.TPMCCStartAuthSession, tpm2.TPMCCFlushContext, tpm2.TPMCCSign} {
		t.Run(commandNames[code], inBubble(func(t *testing.T) {
			m := newMute(code)
			m.on.Store(false)
			b := &bus{intercept: m.intercept}
			k := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(keyPassword)}, b.dial)
			time.Sleep(time.Second) // until the key closes the TPM
			m.on.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			begin := time.Now()
			err := signUntil(ctx, k)
			if code == tpm2.TPMCCFlushContext && err == nil {
				t.Fatal("no error")
			}
			wantEnded(t, "Sign", err, begin, 2*time.Second)
			wantUnavailable(t, err)
			if !strings.Contains(err.Error(), emulator.Path) || !strings.Contains(signer.Hint(err), emulator.Path) {
				t.Errorf("%v, hint %q: does not name the device", err, signer.Hint(err))
			}
			m.on.Store(false)
			close(m.end)
			synctest.Wait()
			mustSign(t, k)
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
		}))
	}
	checkEmpty(t, emulator)
}

// A caller waits for another use of the key no longer than its own context, and
// a caller without a context gets its turn.
func TestWaitForKey(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path})
	t.Run("bubble", inBubble(func(t *testing.T) {
		m := newMute(tpm2.TPMCCSign)
		b := &bus{intercept: m.intercept}
		k := mustOpen(t, Config{PEM: pem, Device: emulator.Path}, b.dial)
		first, last := make(chan error), make(chan error)
		go func() { first <- trySign(k, "first") }()
		<-m.begun
		m.on.Store(false)
		for _, d := range []time.Duration{time.Millisecond, time.Second} {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			begin := time.Now()
			err := signUntil(ctx, k)
			cancel()
			wantError(t, "while another signs", err, context.DeadlineExceeded)
			if after := time.Since(begin); after != d {
				t.Errorf("waited %v, want %v", after, d)
			}
		}
		go func() { last <- trySign(k, "last") }()
		synctest.Wait()
		close(m.end)
		if err := errors.Join(<-first, <-last); err != nil {
			t.Error(err)
		}
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}))
}

// Everything else that a signature waits for ends with its context, too.
func TestContextEndsWaits(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path})
	cfg := Config{PEM: pem, Device: emulator.Path}
	const d = 300 * time.Millisecond

	t.Run("busy TPM", inBubble(func(t *testing.T) {
		one := newExclusiveTPM()
		k := mustOpen(t, cfg, one.dial)
		time.Sleep(time.Second) // until the key closes the TPM
		one.busy <- struct{}{}
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		begin := time.Now()
		wantEnded(t, "Sign", signUntil(ctx, k), begin, d)
		<-one.busy
		mustSign(t, k)
	}))
	t.Run("TPM that asks to retry", inBubble(func(t *testing.T) {
		var retry atomic.Bool
		b := &bus{intercept: func(_ int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
			if codeOf(command) == tpm2.TPMCCSign && retry.Load() {
				return binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, 10}, uint32(tpm2.TPMRCRetry)), nil
			}
			return send(command)
		}}
		k := mustOpen(t, cfg, b.dial)
		retry.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		begin := time.Now()
		wantEnded(t, "Sign", signUntil(ctx, k), begin, d)
		retry.Store(false)
		mustSign(t, k)
	}))
	t.Run("context that has ended", func(t *testing.T) {
		k := mustOpen(t, cfg, dial)
		cause := errors.New("this cause")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		if err := signUntil(ctx, k); err != nil { // the TPM can be faster
			wantError(t, "Sign", err, cause)
		}
		mustSign(t, k)
	})
	t.Run("Close of a mute TPM", inBubble(func(t *testing.T) {
		m := newMute(tpm2.TPMCCFlushContext)
		m.on.Store(false)
		b := &bus{intercept: m.intercept}
		k := mustOpen(t, cfg, b.dial)
		m.on.Store(true)
		begin := time.Now()
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d > flushTime+cancelGrace {
			t.Errorf("Close took %v", d)
		}
		m.on.Store(false)
		close(m.end)
	}))
	t.Run("Close", inBubble(func(t *testing.T) {
		one := newExclusiveTPM()
		k := mustOpen(t, cfg, one.dial)
		time.Sleep(time.Second)
		one.busy <- struct{}{}
		signed := make(chan error)
		go func() { signed <- signUntil(t.Context(), k) }()
		time.Sleep(d)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		wantError(t, "Sign", <-signed, signer.ErrClosed)
	}))
}
