package tpm

import (
	"context"
	"crypto"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A scriptedPIN returns the answers one after another, and then repeats the
// last.
type scriptedPIN struct {
	answers []string
	person  bool // like a person, it also answers for the last try
	prompts []keystore.Prompt
}

func (a *scriptedPIN) ask(_ context.Context, p keystore.Prompt) ([]byte, error) {
	a.prompts = append(a.prompts, p)
	if !a.person {
		if err := p.RefuseLastTry(); err != nil {
			return nil, err
		}
	}
	answer := a.answers[min(len(a.prompts), len(a.answers))-1]
	return []byte(answer), nil
}

func wantTries(t *testing.T, emulator *tpmtest.TPM, when string, want uint32) {
	t.Helper()
	if n := triesUsed(t, emulator); n != want {
		t.Fatalf("%s: the TPM counted %d tries, want %d", when, n, want)
	}
}

func wantError(t *testing.T, what string, err error, kinds ...error) {
	t.Helper()
	for _, kind := range kinds {
		if !errors.Is(err, kind) {
			t.Fatalf("%s: %v, want %v", what, err, kind)
		}
	}
}

// An incorrect password uses one try for each key, no matter how many
// signatures are attempted.
func TestWrongPassword(t *testing.T) {
	emulator := newTPM(t)
	create := CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)}
	file := makeKey(t, create)
	makePersistent(t, emulator, 0x81010001, file)
	create.PCRs = []PCRs{{crypto.SHA256, []uint{7}}}
	bound := makeKey(t, create)
	for _, test := range []struct {
		name string
		cfg  Config
	}{
		{"file", Config{PEM: file}},
		{"handle", Config{Handle: 0x81010001}},
		{"policy", Config{PEM: bound}},
	} {
		t.Run(test.name, func(t *testing.T) {
			resetLockout(t, emulator)
			b := &bus{}
			a := &scriptedPIN{answers: []string{"wrong"}}
			test.cfg.Device, test.cfg.PIN = emulator.Path, a.ask
			k := mustOpen(t, test.cfg, b.dial)
			wantTries(t, emulator, "after Open", 0)
			for i := range 5 {
				wantError(t, "Sign", trySign(k, "wrong"), signer.ErrPINIncorrect)
				checkReleased(t, b)
				wantTries(t, emulator, "after wrong passwords", 1)
				if len(a.prompts) != i+1 {
					t.Fatalf("%d prompts for %d signatures", len(a.prompts), i+1)
				}
			}
			if p := a.prompts[4]; !p.FewTries || p.LastTry {
				t.Errorf("the prompt after a wrong password is %+v", p)
			}
			// Another incorrect password uses another try; the correct one does
			// not.
			a.answers = []string{"wrong again"}
			wantError(t, "Sign", trySign(k, "wrong again"), signer.ErrPINIncorrect, Error(tpm2.TPMRCAuthFail))
			wantTries(t, emulator, "after another wrong password", 2)
			a.person = true
			a.answers = []string{keyPassword}
			mustSign(t, k)
			if p := a.prompts[len(a.prompts)-1]; !p.LastTry || p.NextTry == 0 {
				t.Errorf("the prompt for the last try is %+v", p)
			}
			n := len(a.prompts)
			mustSign(t, k)
			if len(a.prompts) != n {
				t.Error("prompt for a password that is already known")
			}
			wantTries(t, emulator, "after the right password", 2)
			if err := k.Close(); err != nil {
				t.Fatal(err)
			}
			checkEmpty(t, emulator)
		})
	}
}

// checkReleased fails the test if a device is still open.
func checkReleased(t *testing.T, b *bus) {
	t.Helper()
	if opens, closes := b.state(); opens != closes {
		t.Fatalf("%d devices opened, %d closed", opens, closes)
	}
}

// useTries uses n tries with incorrect passwords.
func useTries(t *testing.T, emulator *tpmtest.TPM, pem []byte, n int) {
	t.Helper()
	for i := range n {
		a := &scriptedPIN{answers: []string{"wrong " + string(rune('a'+i))}, person: true}
		k := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: a.ask}, dial)
		wantError(t, "Sign", trySign(k, "spend"), signer.ErrPINIncorrect)
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	wantTries(t, emulator, "after wrong passwords", uint32(n))
}

func TestLastTry(t *testing.T) {
	emulator := newTPM(t)
	setMaxTries(t, emulator, 3)
	pem := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	makePersistent(t, emulator, 0x81010001, pem)
	// A file with incorrect emptyAuth, as tpm2_encodeobject 5.4 writes it.
	f, err := parseKeyPEM(pem)
	if err != nil {
		t.Fatal(err)
	}
	f.emptyAuth = true
	inverted, err := f.marshal()
	if err != nil {
		t.Fatal(err)
	}
	resetLockout(t, emulator)
	useTries(t, emulator, pem, 2)
	for _, test := range []struct {
		name string
		cfg  Config
	}{
		{"file", Config{PEM: pem, PIN: fixedPIN("wrong")}},
		{"file without a source", Config{PEM: pem}},
		{"file that says it has no password", Config{PEM: inverted, PIN: fixedPIN("wrong")}},
		{"handle", Config{Handle: 0x81010001, PIN: fixedPIN("wrong")}},
		{"handle and no password", Config{Handle: 0x81010001, PIN: fixedPIN("")}},
		{"handle without a source", Config{Handle: 0x81010001}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := &bus{}
			test.cfg.Device = emulator.Path
			k, err := open(t.Context(), test.cfg, b.dial)
			if err == nil {
				defer k.Close()
				err = trySign(k, "last try")
			}
			wantError(t, "the last try", err, signer.ErrPINRequired)
			checkReleased(t, b)
			wantTries(t, emulator, "after the last try was refused", 2)
		})
	}
	t.Run("person", func(t *testing.T) {
		a := &scriptedPIN{answers: []string{keyPassword}, person: true}
		k := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: a.ask}, dial)
		mustSign(t, k)
		if len(a.prompts) != 1 || !a.prompts[0].LastTry || !a.prompts[0].FewTries {
			t.Errorf("prompts %+v, want one for the last try", a.prompts)
		}
		wantTries(t, emulator, "after the right password", 2)
	})
}

func TestLockout(t *testing.T) {
	emulator := newTPM(t)
	setMaxTries(t, emulator, 3)
	pem := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	makePersistent(t, emulator, 0x81010001, pem)

	// held has signed before other keys lock the TPM.
	before := &bus{}
	held := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(keyPassword)}, before.dial)
	mustSign(t, held)

	useTries(t, emulator, pem, 3)
	check := func(what string, err error) {
		t.Helper()
		wantError(t, what, err, signer.ErrPINLocked)
		var l interface{ Hint() string }
		if !errors.As(err, &l) || l.Hint() == "" {
			t.Errorf("%s: %v has no hint", what, err)
		}
		wantTries(t, emulator, "in lockout", 3)
	}
	for name, cfg := range map[string]Config{
		"file":   {PEM: pem, PIN: fixedPIN(keyPassword)},
		"handle": {Handle: 0x81010001, PIN: fixedPIN(keyPassword)},
	} {
		asked := false
		b := &bus{}
		cfg.Device = emulator.Path
		pin := cfg.PIN
		cfg.PIN = func(ctx context.Context, p keystore.Prompt) ([]byte, error) { asked = true; return pin(ctx, p) }
		_, err := open(t.Context(), cfg, b.dial)
		check(name, err)
		if asked {
			t.Errorf("%s: prompt during lockout", name)
		}
		checkReleased(t, b)
	}
	err := trySign(held, "in lockout")
	check("held", err)
	wantError(t, "held", err, Error(tpm2.TPMRCLockout))
	if !strings.Contains(err.Error(), (1000 * time.Second).String()) {
		t.Errorf("held: %v does not say when another try is possible", err)
	}
	checkReleased(t, before)

	// The password is still known.
	resetLockout(t, emulator)
	mustSign(t, held)
}

// Keys with the attribute noDA are exempt from the count, and sign during
// lockout.
func TestNoDA(t *testing.T) {
	emulator := newTPM(t)
	setMaxTries(t, emulator, 3)
	protected := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	template := eccTemplate(tpm2.TPMECCNistP256)
	template.ObjectAttributes.NoDA = true
	f, err := create(t.Context(), CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)}, template, nil, dial)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := f.marshal()
	if err != nil {
		t.Fatal(err)
	}
	a := &scriptedPIN{answers: []string{"wrong", keyPassword}}
	b := &bus{}
	k := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: a.ask}, b.dial)
	wantError(t, "Sign", trySign(k, "wrong"), signer.ErrPINIncorrect, Error(tpm2.TPMRCBadAuth))
	wantTries(t, emulator, "after a wrong password", 0)
	mustSign(t, k)
	if len(a.prompts) != 2 || a.prompts[1].LastTry {
		t.Errorf("prompts %+v, want two", a.prompts)
	}
	if slices.Contains(b.commands(), "GetCapability") {
		t.Error("the lockout was read for a key with noDA")
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}

	useTries(t, emulator, protected, 3)
	k = mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(keyPassword)}, dial)
	mustSign(t, k)
}

// Close clears the password.
func TestPasswordCleared(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	given := []byte(keyPassword)
	k := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return given, nil }}, dial)
	mustSign(t, k)
	if string(k.password.value) != keyPassword {
		t.Fatal("password.value is not the password")
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	if k.password.value != nil || k.password.known {
		t.Error("the password is still known after Close")
	}
	if slices.ContainsFunc(given, func(b byte) bool { return b != 0 }) {
		t.Error("the password is not cleared after Close")
	}
}

// If a key has a password and none is given, it is missing, not incorrect.
func TestNoPassword(t *testing.T) {
	emulator := newTPM(t)
	setMaxTries(t, emulator, 10)
	pem := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	makePersistent(t, emulator, 0x81010001, pem)
	_, err := Open(t.Context(), Config{PEM: pem, Device: emulator.Path})
	wantError(t, "file", err, signer.ErrPINRequired)
	wantTries(t, emulator, "after no password", 0)

	k := mustOpen(t, Config{Handle: 0x81010001, Device: emulator.Path}, dial)
	for range 3 {
		wantError(t, "handle", trySign(k, "none"), signer.ErrPINRequired)
		wantTries(t, emulator, "after no password", 1)
	}
	k = mustOpen(t, Config{Handle: 0x81010001, Device: emulator.Path}, dial)
	err = trySign(k, "none")
	wantError(t, "handle", err, signer.ErrPINRequired, Error(tpm2.TPMRCAuthFail))
	if errors.Is(err, signer.ErrPINIncorrect) {
		t.Errorf("%v matches ErrPINIncorrect although no password was given", err)
	}
}
