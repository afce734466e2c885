package tpm

import (
	"context"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// patientDial waits for a TPM that is in use, however slow the machine is.
func patientDial(ctx context.Context, path string) (*device, error) {
	patient := defaultTimeouts
	patient.busy = 5 * time.Minute
	return patient.dial(ctx, path)
}

// TestAttestTogether attests in eight goroutines, each with connections of its own,
// while another one signs.
func TestAttestTogether(t *testing.T) {
	certs := tpmtest.NewMaker(t)
	emulator := certs.Start(t)
	cfg := Config{PEM: makeKey(t, CreateConfig{Device: emulator.Path}), Device: emulator.Path}
	k := mustOpen(t, cfg, patientDial)
	ctx, cancel := context.WithCancel(t.Context())
	signed := make(chan int, 1)
	go func() {
		n := 0
		for ctx.Err() == nil {
			if err := trySign(k, message); err != nil {
				t.Error(err)
				break
			}
			n++
		}
		signed <- n
	}()
	const attests = 8
	errs := make(chan error, attests)
	for range attests {
		go func() {
			_, err := attest(t.Context(), cfg, "", patientDial)
			errs <- err
		}()
	}
	for range attests {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	cancel()
	if n := <-signed; n == 0 {
		t.Error("nothing was signed meanwhile")
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
	checkEmpty(t, emulator)
}
