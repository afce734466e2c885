//go:build cgo

package pkcs11_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// softHSMText is what Attest says about a token of SoftHSM.
var softHSMText = regexp.MustCompile(`^token "token-[0-9-]+", SoftHSM project SoftHSM v2, serial number [0-9a-f]{16}$`)

// SoftHSM tells keys that it has generated from those that were imported.
func TestAttestClaims(t *testing.T) {
	util := signertest.Require(t, "softhsm", "softhsm2-util")
	token := softHSM(t).Token(t)
	u, err := pkcs11.ParseURI(token)
	if err != nil {
		t.Fatal(err)
	}
	var b pkcs11.Backend
	for _, kind := range keyTypes {
		key, err := b.Generate(t.Context(), ref(t, token, "object=generated-"+string(kind)), keystore.KeySpec{Type: kind}, withPIN(pkcs11test.PIN))
		if err != nil {
			t.Fatal(err)
		}
		checkClaims(t, ref(t, token, "object=generated-"+string(kind)), key, true)
		if err := key.Close(); err != nil {
			t.Error(err)
		}
	}
	for i, kind := range []string{"rsa2048", "p256"} {
		file := filepath.Join(t.TempDir(), "key.pem")
		if err := os.WriteFile(file, signertest.KeyPEM(t, signertest.Key(t, kind)), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(util, "--import", file, "--token", u.Token, "--label", "imported-"+kind, "--id", fmt.Sprintf("%02x", i+1), "--pin", pkcs11test.PIN)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("softhsm2-util: %v\n%s", err, out)
		}
		r := ref(t, token, "object=imported-"+kind)
		key, err := b.Open(t.Context(), r, withPIN(pkcs11test.PIN))
		if err != nil {
			t.Fatal(err)
		}
		checkClaims(t, r, key, false)
		if err := key.Close(); err != nil {
			t.Error(err)
		}
	}
}

// checkClaims checks that all claims of a key have a value.
func checkClaims(t *testing.T, r keystore.Ref, key signer.Signer, value bool) {
	t.Helper()
	a, err := pkcs11.Backend{}.Attest(t.Context(), r, "", withPIN(pkcs11test.PIN))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("[{CKA_LOCAL %t} {CKA_NEVER_EXTRACTABLE %t} {CKA_ALWAYS_SENSITIVE %t}]", value, value, value)
	if got := fmt.Sprint(a.Claims); got != want || !signer.SamePublicKey(a.Public, key.Public()) || !softHSMText.MatchString(a.Device) {
		t.Errorf("%s: %+v, want %s", r, a, want)
	}
}

// Attest refuses a wrong PIN as Open does, and leaves no login.
func TestAttestWrongPIN(t *testing.T) {
	token := softHSM(t).Token(t)
	r := ref(t, token, "object=key")
	var b pkcs11.Backend
	key, err := b.Generate(t.Context(), r, keystore.KeySpec{Type: keystore.P256}, withPIN(pkcs11test.PIN))
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Attest(t.Context(), r, "", withPIN(pkcs11test.PIN)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Attest(t.Context(), r, "", withPIN("0000")); !errors.Is(err, signer.ErrPINIncorrect) || !errors.Is(err, signer.ErrTryCounted) {
		t.Errorf("error %v, want ErrPINIncorrect", err)
	}
	if _, err := b.Attest(t.Context(), r, "", keystore.Call{}); !errors.Is(err, signer.ErrPINRequired) {
		t.Errorf("without a PIN: error %v, want ErrPINRequired", err)
	}
	if _, err := b.Attest(t.Context(), r, "", withPIN(pkcs11test.PIN)); err != nil {
		t.Errorf("with the right PIN again: %v", err)
	}
}
