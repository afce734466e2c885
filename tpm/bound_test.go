package tpm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// An operation is a call that a TPM can hold up.
type boundOperation struct {
	name string
	run  func(t *testing.T, ctx context.Context, dial dialer) error
}

// boundOperations returns all operations but signatures.
func boundOperations(t *testing.T, emulator *tpmtest.TPM) []boundOperation {
	t.Helper()
	device := emulator.Path
	create := CreateConfig{Device: device, PIN: fixedPIN(keyPassword)}
	file := makeKey(t, create)
	makePersistent(t, emulator, 0x81010001, file)
	sealed, err := Seal(t.Context(), create, []byte("a secret"))
	if err != nil {
		t.Fatal(err)
	}
	opened := func(t *testing.T, k *Key, err error) error {
		if err == nil {
			t.Cleanup(func() { _ = k.Close() })
		}
		return err
	}
	pin := fixedPIN(keyPassword)
	return []boundOperation{
		{"open a file", func(t *testing.T, ctx context.Context, dial dialer) error {
			k, err := open(ctx, Config{PEM: file, Device: device, PIN: pin}, dial)
			return opened(t, k, err)
		}},
		{"open a handle", func(t *testing.T, ctx context.Context, dial dialer) error {
			k, err := open(ctx, Config{Handle: 0x81010001, Device: device, PIN: pin}, dial)
			return opened(t, k, err)
		}},
		{"list", func(_ *testing.T, ctx context.Context, dial dialer) error {
			_, err := listOn(ctx, device, "", dial)
			return err
		}},
		{"create", func(_ *testing.T, ctx context.Context, dial dialer) error {
			_, err := createKey(ctx, create, keystore.P256, dial)
			return err
		}},
		{"seal", func(_ *testing.T, ctx context.Context, dial dialer) error {
			_, err := seal(ctx, create, []byte("another"), dial)
			return err
		}},
		{"unseal", func(_ *testing.T, ctx context.Context, dial dialer) error {
			_, err := unseal(ctx, Config{PEM: sealed, Device: device, PIN: pin}, dial)
			return err
		}},
		{"attest", func(_ *testing.T, ctx context.Context, dial dialer) error {
			_, err := attest(ctx, Config{PEM: file, Device: device}, "", dial)
			return err
		}},
	}
}

// Whichever command the TPM does not answer, each operation returns soon after its
// context, and leaves nothing in the TPM once that has answered.
func TestMuteInEachCommand(t *testing.T) {
	emulator := newTPM(t)
	for _, op := range boundOperations(t, emulator) {
		for at, more := 1, true; more; at++ {
			t.Run(fmt.Sprintf("%s/%d", op.name, at), inBubble(func(t *testing.T) {
				ctx, end := context.WithCancelCause(t.Context())
				answer := make(chan struct{})
				var mute string
				var over atomic.Bool
				b := &bus{intercept: func(n int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
					if n == at && !over.Load() {
						mute = commandName(command)
						end(context.DeadlineExceeded)
						<-answer
					}
					return send(command)
				}}
				begin := time.Now()
				err := op.run(t, ctx, b.dial)
				took := time.Since(begin)
				over.Store(true)
				close(answer)
				time.Sleep(time.Minute) // until the operation has ended in the background
				synctest.Wait()
				if more = mute != ""; !more {
					if err != nil || at < 3 {
						t.Errorf("error %v after %d commands", err, at-1)
					}
					return
				}
				if took > grace {
					t.Errorf("%s: it took %v", mute, took)
				}
				if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, signer.ErrUnavailable) ||
					strings.Count(err.Error(), emulator.Path) != 1 || signer.Hint(err) == "" {
					t.Errorf("%s: error %v, hint %q", mute, err, signer.Hint(err))
				}
				if opens, closes := b.state(); opens != closes {
					t.Errorf("%s: %d connections opened, %d closed", mute, opens, closes)
				}
				checkEmpty(t, emulator)
			}))
		}
	}
}

// With a context that has ended, nothing opens the TPM.
func TestEndedContext(t *testing.T) {
	stop := errors.New("stop")
	ctx, end := context.WithCancelCause(t.Context())
	end(stop)
	for _, op := range boundOperations(t, newTPM(t)) {
		b := &bus{}
		if err := op.run(t, ctx, b.dial); !errors.Is(err, stop) {
			t.Errorf("%s: error %v", op.name, err)
		}
		if opens, _ := b.state(); opens > 0 {
			t.Errorf("%s: opened the TPM", op.name)
		}
	}
}

// Close interrupts the signature that the TPM does not end and those that wait for
// it, whatever their contexts, in each command.
func TestCloseDuringMuteSign(t *testing.T) {
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
			signed := make(chan error)
			for n := range 5 {
				go func() {
					if n%2 == 0 {
						signed <- trySign(k, "waits")
					} else {
						signed <- signUntil(t.Context(), k)
					}
				}()
			}
			<-m.begun
			synctest.Wait()
			begin := time.Now()
			closed := make(chan time.Duration)
			go func() {
				if err := k.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				closed <- time.Since(begin)
			}()
			for range 5 {
				wantError(t, "Sign", <-signed, signer.ErrClosed)
			}
			if took := <-closed; took > 3*cancelGrace {
				t.Errorf("Close took %v", took)
			}
			m.on.Store(false)
			close(m.end)
			synctest.Wait()
			if opens, closes := b.state(); opens != closes {
				t.Errorf("%d connections opened, %d closed", opens, closes)
			}
		}))
	}
	d := openTPM(t, emulator) // without a resource manager, an interrupted command can leave an object
	flushAll(d)
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
}
