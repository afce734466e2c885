package tpm

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// TestAttestFull attests and activates when killed programs have left the TPM full.
func TestAttestFull(t *testing.T) {
	emulator := newTPM(t)
	m := newMaker(t, emulator)
	pem := makeKey(t, CreateConfig{Device: emulator.Path})
	makePersistent(t, emulator, 0x81000010, pem)
	secret := bytes.Repeat([]byte{7}, 32)
	at := mustAttest(t, emulator, Config{PEM: pem, Device: emulator.Path}, "")
	ek := m.primary(entity{handle: tpm2.TPMRHEndorsement}, tpm2.RSAEKTemplate, "")
	m.persist(ek, 0x81010001)
	m.flush(ek.handle)
	c := credentialFor(t, at.TPM.EndorsementKey, at.TPM.Area, secret)
	fills := map[string]func(){
		"objects": func() { m.primary(null, srkTemplate, "") },
		"sessions": func() {
			if _, _, err := tpm2.HMACSession(m.tpm, tpm2.TPMAlgSHA256, nonceSize); err != nil {
				t.Fatal(err)
			}
		},
	}
	for _, cfg := range []Config{{PEM: pem, Device: emulator.Path}, {Handle: 0x81000010, Device: emulator.Path}} {
		for name, fill := range fills {
			for left := 1; left <= 3; left++ {
				for range left {
					fill()
				}
				if _, err := attest(t.Context(), cfg, keystore.P256, dial); err != nil {
					t.Errorf("%d %s left: attest: %v", left, name, err)
				}
				for _, h := range m.loadedHandles() {
					m.flush(h)
				}
				for range left {
					fill()
				}
				if got, err := activate(t.Context(), cfg, c, dial); err != nil || !bytes.Equal(got, secret) {
					t.Errorf("%d %s left: activate: %x, %v", left, name, got, err)
				}
				for _, h := range m.loadedHandles() {
					m.flush(h)
				}
			}
		}
	}
}

// TestAttestFaults fails each command of attest and activate once, with a lost
// connection and with TPM_RC_FAILURE. What a lost connection leaves in the TPM is
// flushed when another command needs the room.
func TestAttestFaults(t *testing.T) {
	emulator := newTPM(t)
	cfg := Config{PEM: makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)}), Device: emulator.Path, PIN: fixedPIN(keyPassword)}
	at := mustAttest(t, emulator, cfg, keystore.P256)
	secret := bytes.Repeat([]byte{7}, 32)
	c := credentialFor(t, at.TPM.EndorsementKey, at.TPM.Area, secret)
	for name, operation := range map[string]func(dialer) error{
		"attest": func(dial dialer) error {
			_, err := attest(t.Context(), cfg, keystore.P256, dial)
			return err
		},
		"activate": func(dial dialer) error {
			got, err := activate(t.Context(), cfg, c, dial)
			if err == nil && !bytes.Equal(got, secret) {
				t.Errorf("activate: %x", got)
			}
			return err
		},
	} {
		all := &bus{}
		if err := operation(all.dial); err != nil {
			t.Fatal(err)
		}
		for failing := 1; failing <= len(all.sent); failing++ {
			flushes := commandName(all.sent[failing-1]) == "FlushContext"
			for _, lost := range []bool{true, false} {
				b := &bus{intercept: func(n int, command []byte, send func([]byte) ([]byte, error)) ([]byte, error) {
					switch {
					case n != failing:
						return send(command)
					case lost:
						return nil, errors.New("connection lost")
					}
					return []byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 1}, nil // TPM_RC_FAILURE
				}}
				err := operation(b.dial)
				// libtpms returns TPM_RC_FAILURE for a changed credential.
				changed := !lost && codeOf(all.sent[failing-1]) == tpm2.TPMCCActivateCredential && errors.Is(err, signer.ErrMismatch)
				if err != nil && !errors.Is(err, signer.ErrUnavailable) && !changed {
					t.Errorf("%s: command %d (%s), lost %v: %v", name, failing, commandName(all.sent[failing-1]), lost, err)
				}
				if !lost && !flushes {
					checkEmpty(t, emulator)
				}
			}
		}
		if err := operation(dial); err != nil {
			t.Errorf("%s after all faults: %v", name, err)
		}
	}
	if n := triesUsed(t, emulator); n != 0 {
		t.Errorf("the TPM counted %d tries", n)
	}
}
