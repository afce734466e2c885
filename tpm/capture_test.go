package tpm

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// shows reports whether a secret was sent over the bus, and in which form.
func (b *bus) shows(secret string) (form string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	reversed := []byte(secret)
	slices.Reverse(reversed)
	long, short := sha256.Sum256([]byte(secret)), sha1.Sum([]byte(secret))
	for form, value := range map[string][]byte{
		"in clear":       []byte(secret),
		"reversed":       reversed,
		"its SHA-256":    long[:],
		"its SHA-1":      short[:],
		"its first half": []byte(secret)[:len(secret)/2],
	} {
		if slices.ContainsFunc(b.traffic, func(m []byte) bool { return bytes.Contains(m, value) }) {
			return form, true
		}
	}
	return "", false
}

// The bus traffic contains no password and no sealed secret.
func TestBusShowsNoSecrets(t *testing.T) {
	emulator := newTPM(t)
	setMaxTries(t, emulator, 100)
	const (
		wrong  = "a-wrong-password"
		sealed = "the-secret-that-is-sealed"
	)
	b := &bus{}
	use := func(what string, cfg Config, want error) {
		t.Helper()
		cfg.Device = emulator.Path
		k, err := open(t.Context(), cfg, b.dial)
		if err == nil {
			err = trySign(k, what)
			_ = k.Close()
		}
		if !errors.Is(err, want) {
			t.Fatalf("%s: %v, want %v", what, err, want)
		}
	}
	mustCreate := func(cfg CreateConfig) []byte {
		t.Helper()
		cfg.Device = emulator.Path
		pem, err := createKey(t.Context(), cfg, keystore.P256, b.dial)
		if err != nil {
			t.Fatal(err)
		}
		return pem
	}
	pin := fixedPIN(keyPassword)
	pcrs := []PCRs{{crypto.SHA256, []uint{7}}}
	makePersistentParent(t, emulator, 0x81000001, parentPassword)

	file := mustCreate(CreateConfig{PIN: pin})
	use("file", Config{PEM: file, PIN: pin}, nil)
	use("file and a wrong password", Config{PEM: file, PIN: fixedPIN(wrong)}, signer.ErrPINIncorrect)
	bound := mustCreate(CreateConfig{PIN: pin, PCRs: pcrs})
	use("policy", Config{PEM: bound, PIN: pin}, nil)
	use("policy and a wrong password", Config{PEM: bound, PIN: fixedPIN(wrong)}, signer.ErrPINIncorrect)
	f, err := parseKeyPEM(bound)
	if err != nil {
		t.Fatal(err)
	}
	f.policy[1].command = ccPolicyPassword // the password in clear text
	inClear, err := f.marshal()
	if err != nil {
		t.Fatal(err)
	}
	use("policy of TPM2_PolicyPassword", Config{PEM: inClear, PIN: pin}, nil)

	below := mustCreate(CreateConfig{PIN: pin, Parent: 0x81000001, ParentPIN: fixedPIN(parentPassword)})
	use("parent with a password", Config{PEM: below, PIN: pin, ParentPIN: fixedPIN(parentPassword)}, nil)
	use("parent and a wrong password", Config{PEM: below, PIN: pin, ParentPIN: fixedPIN(wrong)}, signer.ErrPINIncorrect)
	use("parent and no password", Config{PEM: below, PIN: pin}, signer.ErrPINRequired)

	if err := persist(t.Context(), Config{Handle: 0x81010001}, CreateConfig{Device: emulator.Path}, file, b.dial); err != nil {
		t.Fatal(err)
	}
	use("handle", Config{Handle: 0x81010001, PIN: pin}, nil)
	use("handle and a wrong password", Config{Handle: 0x81010001, PIN: fixedPIN(wrong)}, signer.ErrPINIncorrect)

	for _, c := range []CreateConfig{
		{}, {PIN: pin}, {PCRs: pcrs}, {PCRs: pcrs, PIN: pin},
		{PIN: pin, Parent: 0x81000001, ParentPIN: fixedPIN(parentPassword)},
	} {
		c.Device = emulator.Path
		pem, err := seal(t.Context(), c, []byte(sealed), b.dial)
		if err != nil {
			t.Fatal(err)
		}
		got, err := unseal(t.Context(), Config{PEM: pem, Device: emulator.Path, PIN: c.PIN, ParentPIN: c.ParentPIN}, b.dial)
		if err != nil || string(got) != sealed {
			t.Fatalf("unsealed %q, %v", got, err)
		}
		if c.PIN != nil {
			_, err = unseal(t.Context(), Config{PEM: pem, Device: emulator.Path, PIN: fixedPIN(wrong), ParentPIN: c.ParentPIN}, b.dial)
			wantError(t, "unseal", err, signer.ErrPINIncorrect)
		}
	}

	setOwnerPassword(t, emulator.Path, ownerPassword)
	use("owner without the password", Config{PEM: file, PIN: pin}, signer.ErrPINRequired)
	use("owner", Config{PEM: file, PIN: pin, ParentPIN: fixedPIN(ownerPassword)}, nil)
	use("owner and a wrong password", Config{PEM: file, PIN: pin, ParentPIN: fixedPIN(wrong)}, signer.ErrPINIncorrect)
	own := mustCreate(CreateConfig{PIN: pin, ParentPIN: fixedPIN(ownerPassword)})
	if err := persist(t.Context(), Config{Handle: 0x81010002}, CreateConfig{Device: emulator.Path, ParentPIN: fixedPIN(ownerPassword)}, own, b.dial); err != nil {
		t.Fatal(err)
	}
	use("handle of the owner", Config{Handle: 0x81010002, PIN: pin}, nil)

	for _, secret := range []string{keyPassword, parentPassword, ownerPassword, wrong, sealed} {
		if form, ok := b.shows(secret); ok {
			t.Errorf("%q was sent over the bus: %s", secret, form)
		}
	}
	if len(b.traffic) < 200 {
		t.Errorf("recorded only %d messages", len(b.traffic))
	}
	checkReleased(t, b)
	checkEmpty(t, emulator)

	// The test detects a password in clear text.
	d, err := b.dial(t.Context(), emulator.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	o, err := readPublic(d, 0x81010001)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(nil)
	_, err = tpm2.Sign{
		KeyHandle:  tpm2.AuthHandle{Handle: 0x81010001, Name: o.name, Auth: tpm2.PasswordAuth([]byte(keyPassword))},
		Digest:     tpm2.TPM2BDigest{Buffer: digest[:]},
		InScheme:   tpm2.TPMTSigScheme{Scheme: tpm2.TPMAlgECDSA, Details: tpm2.NewTPMUSigScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSchemeHash{HashAlg: tpm2.TPMAlgSHA256})},
		Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
	}.Execute(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := b.shows(keyPassword); !ok {
		t.Error("a password in clear text was not detected")
	}
}

// setOwnerPassword sets the password of the owner hierarchy.
func setOwnerPassword(t *testing.T, path, password string) {
	t.Helper()
	d, err := dialer(dial).open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	_, err = tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: []byte(password)},
	}.Execute(d)
	if err != nil {
		t.Fatal(err)
	}
}
