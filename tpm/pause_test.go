//go:build unix

package tpm

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
)

// Against a TPM that has really stopped, a waiting Sign, Close and Open end.
func TestStoppedTPM(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path})
	const far = 14 * time.Second // less than the time that the TPM has for a response
	k := mustOpen(t, Config{PEM: pem, Device: emulator.Path}, dial)
	mustSign(t, k)
	if err := emulator.Pause(); err != nil {
		t.Fatal(err)
	}
	signed := make(chan error)
	for range 3 {
		go func() { signed <- trySign(k, "stopped") }()
	}
	for k.mu.TryLock() { // until one signs
		k.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	if err := k.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	t.Logf("Close took %v", time.Since(begin))
	for range 3 {
		wantError(t, "Sign", <-signed, signer.ErrClosed)
	}
	for _, op := range []boundOperation{
		{"open", func(_ *testing.T, ctx context.Context, dial dialer) error {
			_, err := open(ctx, Config{PEM: pem, Device: emulator.Path}, dial)
			return err
		}},
		{"list", func(_ *testing.T, ctx context.Context, dial dialer) error {
			_, err := listOn(ctx, emulator.Path, "", dial)
			return err
		}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		err := op.run(t, ctx, dial)
		cancel()
		deadline, _ := ctx.Deadline()
		t.Logf("%s: %v after its deadline", op.name, time.Since(deadline))
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
			t.Errorf("%s: error %v, hint %q", op.name, err, signer.Hint(err))
		}
	}
	if took := time.Since(begin); took > far {
		t.Errorf("it took %v", took)
	}
	if err := emulator.Resume(); err != nil {
		t.Fatal(err)
	}
}
