package tpm

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// TestEndorsementPassword attests and activates with a password of the endorsement
// hierarchy, alone and together with a password and a policy of the key.
func TestEndorsementPassword(t *testing.T) {
	const password = "sesame-of-endorsement"
	emulator := newTPM(t)
	m := newMaker(t, emulator)
	pems := map[string][]byte{
		"no password":       makeKey(t, CreateConfig{Device: emulator.Path}),
		"password":          makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)}),
		"PCRs and password": makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword), PCRs: []PCRs{{Hash: crypto.SHA256, Numbers: []uint{7}}}}),
	}
	m.setAuth(entity{handle: tpm2.TPMRHEndorsement}, password)
	secret := bytes.Repeat([]byte{7}, 32)
	for name, pem := range pems {
		for _, kind := range EndorsementKeyTypes() {
			cfg := Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(keyPassword)}
			if name == "no password" {
				cfg.PIN = nil
			}
			if _, err := attest(t.Context(), cfg, kind, dial); !errors.Is(err, signer.ErrPINRequired) || !strings.Contains(signer.Hint(err), "endorsement-auth-source") {
				t.Errorf("%s, %s: without the password: %v (%s)", name, kind, err, signer.Hint(err))
			}
			cfg.EndorsementPIN = fixedPIN("wrong")
			if _, err := attest(t.Context(), cfg, kind, dial); !errors.Is(err, signer.ErrPINIncorrect) || !strings.Contains(err.Error(), keystore.AskTPMEndorsement) || strings.Contains(err.Error(), keystore.AskTPMKey) {
				t.Errorf("%s, %s: with a wrong password: %v", name, kind, err)
			}
			cfg.EndorsementPIN = fixedPIN(password)
			b := &bus{}
			at, err := attest(t.Context(), cfg, kind, b.dial)
			if err != nil {
				t.Fatalf("%s, %s: %v", name, kind, err)
			}
			c := credentialFor(t, at.TPM.EndorsementKey, at.TPM.Area, secret)
			got, err := activate(t.Context(), cfg, c, b.dial)
			if err != nil || !bytes.Equal(got, secret) {
				t.Errorf("%s, %s: %x, %v", name, kind, got, err)
			}
			for _, packet := range b.traffic {
				for _, hidden := range [][]byte{secret, []byte(password), []byte(keyPassword)} {
					if bytes.Contains(packet, hidden) {
						t.Errorf("%s, %s: %q is on the bus in the clear", name, kind, hidden)
					}
				}
			}
			cfg.EndorsementPIN = fixedPIN("wrong")
			if _, err := activate(t.Context(), cfg, c, dial); !errors.Is(err, signer.ErrPINIncorrect) || strings.Contains(err.Error(), keystore.AskTPMKey) {
				t.Errorf("%s, %s: activation with a wrong password: %v", name, kind, err)
			}
		}
	}
	checkEmpty(t, emulator)
	if n := triesUsed(t, emulator); n != 0 {
		t.Errorf("the TPM counted %d tries", n)
	}
}

// TestActivateWrongPassword counts the tries with a wrong password of the key.
func TestActivateWrongPassword(t *testing.T) {
	emulator := newTPM(t)
	cfg := Config{PEM: makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)}), Device: emulator.Path, PIN: fixedPIN("wrong")}
	at := mustAttest(t, emulator, cfg, "")
	c := credentialFor(t, at.TPM.EndorsementKey, at.TPM.Area, bytes.Repeat([]byte{7}, 32))
	if _, err := activate(t.Context(), cfg, c, dial); !errors.Is(err, signer.ErrPINIncorrect) || !errors.Is(err, signer.ErrTryCounted) {
		t.Errorf("wrong password: %v", err)
	}
	cfg.PIN = nil
	if _, err := activate(t.Context(), cfg, c, dial); !errors.Is(err, signer.ErrPINRequired) {
		t.Errorf("no password: %v", err)
	}
	checkEmpty(t, emulator)
	if n := triesUsed(t, emulator); n != 1 {
		t.Errorf("the TPM counted %d tries, want 1", n)
	}
}

// TestEndorsementKeyWithPassword has a persistent endorsement key whose password is not
// empty. It is not tried, because the TPM would count that.
func TestEndorsementKeyWithPassword(t *testing.T) {
	emulator := newTPM(t)
	m := newMaker(t, emulator)
	cfg := Config{PEM: makeKey(t, CreateConfig{Device: emulator.Path}), Device: emulator.Path}
	o := m.primary(entity{handle: tpm2.TPMRHEndorsement}, endorsementTemplateP384(), keyPassword)
	m.persist(o, 0x81010010)
	m.flush(o.handle)
	at := mustAttest(t, emulator, cfg, keystore.P384)
	secret := bytes.Repeat([]byte{7}, 32)
	if got, err := activate(t.Context(), cfg, credentialFor(t, at.TPM.EndorsementKey, at.TPM.Area, secret), dial); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("%x, %v", got, err)
	}
	if n := triesUsed(t, emulator); n != 0 {
		t.Errorf("the TPM counted %d tries", n)
	}
}
