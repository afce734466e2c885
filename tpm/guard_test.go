package tpm

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// countedSRK is a storage key whose incorrect passwords the TPM counts, as
// tpm2_createprimary makes it.
var countedSRK = func() tpm2.TPMTPublic {
	t := srkTemplate
	t.ObjectAttributes.NoDA = false
	return t
}()

// A guardScene has keys, sealed data and parents of all kinds, with passwords
// that the TPM counts.
type guardScene struct {
	emulator *tpmtest.TPM
	do       map[string]func(keyPIN, parentPIN keystore.PINFunc) error // nil: no source
}

const guardParent, guardHandle, guardPlainParent = 0x81000011, 0x81010011, 0x81000012

func newGuardScene(t testing.TB, emulator *tpmtest.TPM) *guardScene {
	t.Helper()
	m := newMaker(t, emulator)
	m.persistentPrimary(guardParent, countedSRK, parentPassword)
	m.persistentPrimary(guardPlainParent, srkTemplate, parentPassword)
	both := CreateConfig{Device: emulator.Path, Parent: guardParent, ParentPIN: optionalPIN(parentPassword), PIN: optionalPIN(keyPassword)}
	below := func(change func(*CreateConfig)) []byte {
		c := both
		change(&c)
		return makeKey(t, c)
	}
	underParent := below(func(c *CreateConfig) { c.PIN = nil })
	exemptParent := below(func(c *CreateConfig) { c.PIN, c.Parent = nil, guardPlainParent })
	underOwner := below(func(c *CreateConfig) { c.Parent, c.ParentPIN = 0, nil })
	policy := below(func(c *CreateConfig) { c.Parent, c.ParentPIN, c.PCRs = 0, nil, []PCRs{{crypto.SHA256, []uint{7}}} })
	sealedBelow, err := Seal(t.Context(), both, []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	denying := m.createUnderOwner(signingTemplate(keystore.P256), keyPassword)
	denying.EmptyAuth = true
	m.persistent(guardHandle, signingTemplate(keystore.P256), keyPassword)
	resetLockout(t, emulator)

	sign := func(cfg Config) func(key, parent keystore.PINFunc) error {
		return func(key, parent keystore.PINFunc) error {
			cfg.Device, cfg.PIN, cfg.ParentPIN = emulator.Path, key, parent
			k, err := Open(t.Context(), cfg)
			if err != nil {
				return err
			}
			err = trySign(k, "guard")
			if again := trySign(k, "again"); err != nil && again == nil {
				err = errors.New("signed after a refusal")
			}
			return errors.Join(err, k.Close())
		}
	}
	scene := &guardScene{emulator: emulator, do: map[string]func(key, parent keystore.PINFunc) error{
		"key file":                        sign(Config{PEM: underOwner}),
		"key file with a policy":          sign(Config{PEM: policy}),
		"key file that denies a password": sign(Config{PEM: denying.pem(t)}),
		"persistent key":                  sign(Config{Handle: guardHandle}),
		"key file under a parent":         sign(Config{PEM: underParent}),
		"key file under an exempt parent": sign(Config{PEM: exemptParent}),
		"unseal": func(key, parent keystore.PINFunc) error {
			_, err := Unseal(t.Context(), Config{PEM: sealedBelow, Device: emulator.Path, PIN: key, ParentPIN: parent})
			return err
		},
		"create": func(_, parent keystore.PINFunc) error {
			_, err := Create(t.Context(), CreateConfig{Device: emulator.Path, Parent: guardParent, ParentPIN: parent}, keystore.P256)
			return err
		},
		"seal": func(key, parent keystore.PINFunc) error {
			_, err := Seal(t.Context(), CreateConfig{Device: emulator.Path, Parent: guardParent, ParentPIN: parent, PIN: key}, []byte("secret"))
			return err
		},
	}}
	return scene
}

// No call uses the last try of the TPM, however often a program with a wrong or
// forgotten password is started again, and each says so.
func TestGuard(t *testing.T) {
	emulator := newTPM(t)
	scene := newGuardScene(t, emulator)
	const most = 3
	setMaxTries(t, emulator, most)
	for name, do := range scene.do {
		for _, source := range []struct {
			name        string
			key, parent keystore.PINFunc
		}{
			{"wrong", fixedPIN("wrong"), fixedPIN("wrong")},
			{"forgotten", nil, nil},
			{"empty", fixedPIN(""), fixedPIN("")},
			{"wrong parent", fixedPIN(keyPassword), fixedPIN("wrong")},
			{"forgotten parent", fixedPIN(keyPassword), nil},
			{"wrong key", fixedPIN("wrong"), fixedPIN(parentPassword)},
		} {
			t.Run(name+"/"+source.name, func(t *testing.T) {
				resetLockout(t, emulator)
				var before uint32
				for range 5 {
					err := do(source.key, source.parent)
					after := triesUsed(t, emulator)
					if after >= most {
						t.Fatalf("%d of %d tries used: %v", after, most, err)
					}
					if err == nil {
						if after != before {
							t.Fatalf("success counted a try")
						}
						continue
					}
					if (after > before) != errors.Is(err, signer.ErrTryCounted) {
						t.Fatalf("%d tries used, then %d: ErrTryCounted %t: %v", before, after, errors.Is(err, signer.ErrTryCounted), err)
					}
					if !errors.Is(err, signer.ErrPINIncorrect) && !errors.Is(err, signer.ErrPINRequired) {
						t.Fatalf("says neither that a password is incorrect nor that it is missing: %v", err)
					}
					if signer.Hint(err) == "" {
						t.Errorf("no hint: %v", err)
					}
					before = after
				}
			})
		}
	}
	checkEmpty(t, emulator)
}

// The TPM counts no tries for hierarchies, and a refused password of a hierarchy
// does not say that it did.
func TestGuardHierarchy(t *testing.T) {
	emulator := newTPM(t)
	pem := makeKey(t, CreateConfig{Device: emulator.Path})
	newMaker(t, emulator).setAuth(owner, ownerPassword)
	setMaxTries(t, emulator, 3)
	for range 4 {
		for _, pin := range []keystore.PINFunc{nil, fixedPIN(""), fixedPIN("wrong")} {
			cfg := CreateConfig{Device: emulator.Path, ParentPIN: pin}
			_, opened := Open(t.Context(), Config{PEM: pem, Device: emulator.Path, ParentPIN: pin})
			_, created := Create(t.Context(), cfg, keystore.P256)
			_, sealed := Seal(t.Context(), cfg, []byte("secret"))
			for _, err := range []error{opened, created, sealed} {
				if !errors.Is(err, signer.ErrPINRequired) && !errors.Is(err, signer.ErrPINIncorrect) || errors.Is(err, signer.ErrTryCounted) {
					t.Errorf("error %v", err)
				}
			}
		}
	}
	wantTries(t, emulator, "at the end", 0)
}

// The last try is for a person, also for the password of a parent.
func TestGuardPerson(t *testing.T) {
	emulator := newTPM(t)
	scene := newGuardScene(t, emulator)
	setMaxTries(t, emulator, 3)
	for name, key := range map[string]keystore.PINFunc{"key file under a parent": nil, "unseal": optionalPIN(keyPassword), "create": nil, "seal": optionalPIN(keyPassword)} {
		t.Run(name, func(t *testing.T) {
			resetLockout(t, emulator)
			for range 3 {
				if err := scene.do[name](key, fixedPIN("wrong")); err == nil {
					t.Fatal("a wrong password was accepted")
				}
			}
			wantTries(t, emulator, "after a wrong file", 2)
			a := &scriptedPIN{answers: []string{parentPassword}, person: true}
			if err := scene.do[name](key, a.ask); err != nil {
				t.Fatal(err)
			}
			if len(a.prompts) != 1 || !a.prompts[0].LastTry || a.prompts[0].What != keystore.AskTPMParent {
				t.Errorf("prompts %+v, want one for the last try", a.prompts)
			}
			wantTries(t, emulator, "after the right password", 2)
		})
	}
}

// If other programs use tries between the prompt and the first signature, the
// password is asked for again.
func TestGuardAfterPrompt(t *testing.T) {
	emulator := newTPM(t)
	setMaxTries(t, emulator, 3)
	pem := makeKey(t, CreateConfig{Device: emulator.Path, PIN: fixedPIN(keyPassword)})
	wrong := func(value string) error {
		k := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(value)}, dial)
		defer k.Close()
		return trySign(k, "wrong")
	}
	t.Run("file", func(t *testing.T) {
		resetLockout(t, emulator)
		k := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN("old")}, dial)
		closeIdleNow(k)
		wantError(t, "another program", errors.Join(wrong("a"), wrong("b")), signer.ErrTryCounted)
		wantTries(t, emulator, "after another program", 2)
		for range 3 {
			err := trySign(k, "last")
			wantError(t, "the last try", err, signer.ErrPINRequired)
			if errors.Is(err, signer.ErrTryCounted) {
				t.Errorf("%v says that a try was counted", err)
			}
		}
		wantTries(t, emulator, "after the last try was refused", 2)
	})
	t.Run("person", func(t *testing.T) {
		resetLockout(t, emulator)
		a := &scriptedPIN{answers: []string{"old", keyPassword}, person: true}
		k := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: a.ask}, dial)
		closeIdleNow(k)
		_, _ = wrong("a"), wrong("b")
		mustSign(t, k)
		if len(a.prompts) != 2 || a.prompts[0].LastTry || !a.prompts[1].LastTry {
			t.Errorf("prompts %+v, want a second one for the last try", a.prompts)
		}
		wantTries(t, emulator, "after the right password", 2)
	})
	t.Run("accepted before", func(t *testing.T) {
		resetLockout(t, emulator)
		k := mustOpen(t, Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(keyPassword)}, dial)
		mustSign(t, k)
		closeIdleNow(k)
		_, _ = wrong("a"), wrong("b")
		mustSign(t, k)
		wantTries(t, emulator, "after the right password", 2)
	})
}

// closeIdleNow closes the TPM as after maxIdle.
func closeIdleNow(k *Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.unload()
}

// A key without a password whose file says that it has one is named, with the
// flag that helps; an exempt key is simply used.
func TestDeniedEmptyPassword(t *testing.T) {
	emulator := newTPM(t)
	m := newMaker(t, emulator)
	counted := m.createUnderOwner(signingTemplate(keystore.P256), "")
	counted.EmptyAuth = false
	template := signingTemplate(keystore.P256)
	template.ObjectAttributes.NoDA = true
	exempt := m.createUnderOwner(template, "")
	exempt.EmptyAuth = false
	secret := m.createUnderOwner(template, keyPassword)
	noTerminal := func(context.Context, keystore.Prompt) ([]byte, error) {
		return nil, fmt.Errorf("no terminal: %w", signer.ErrPINRequired)
	}
	for _, pin := range []keystore.PINFunc{nil, noTerminal} {
		_, err := Open(t.Context(), Config{PEM: counted.pem(t), Device: emulator.Path, PIN: pin})
		wantError(t, "counted", err, signer.ErrPINRequired)
		if !strings.Contains(signer.Hint(err), "a Config.PIN that returns nothing") {
			t.Errorf("hint %q", signer.Hint(err))
		}
	}
	mustSign(t, mustOpen(t, Config{PEM: counted.pem(t), Device: emulator.Path, PIN: fixedPIN("")}, dial))
	mustSign(t, mustOpen(t, Config{PEM: exempt.pem(t), Device: emulator.Path}, dial))
	err := trySign(mustOpen(t, Config{PEM: secret.pem(t), Device: emulator.Path}, dial), "none")
	wantError(t, "a password is missing", err, signer.ErrPINRequired)
	wantTries(t, emulator, "at the end", 0)
}

// Without permission nothing is tried that the TPM could count.
func TestPermit(t *testing.T) {
	emulator := newTPM(t)
	m := newMaker(t, emulator)
	m.persistent(guardHandle, signingTemplate(keystore.P256), keyPassword)
	resetLockout(t, emulator)
	refused := errors.New("refused")
	for name, pin := range map[string]keystore.PINFunc{"none": nil, "wrong": fixedPIN("wrong"), "right": fixedPIN(keyPassword)} {
		k, err := Open(t.Context(), Config{Handle: guardHandle, Device: emulator.Path, PIN: pin, permit: func(keystore.Prompt) error { return refused }})
		if err == nil {
			err = errors.Join(trySign(k, "permit"), k.Close())
		}
		if !errors.Is(err, refused) {
			t.Errorf("%s: %v", name, err)
		}
		if n := triesUsed(t, emulator); n != 0 {
			t.Fatalf("%s: %d tries used", name, n)
		}
	}
}
