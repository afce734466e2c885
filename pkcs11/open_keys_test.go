//go:build cgo && linux

package pkcs11_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
)

const openKeysVariable = "HOLDFAST_TEST_OPEN_KEYS"

// SoftHSM reads its configuration and its tokens only when it is initialized. The error
// of the next call names the keys that keep it so. Its process has a SoftHSM of its own.
func TestOpenKeysKeepTheModule(t *testing.T) {
	if os.Getenv(openKeysVariable) != "" {
		withOpenKeys(t)
		return
	}
	softHSM(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), openKeysVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func withOpenKeys(t *testing.T) {
	token := pkcs11test.New(t).Token(t)
	var keys []signer.Signer
	for _, name := range []string{"a", "b", "c", "d"} {
		k, err := pkcs11.Backend{}.Generate(t.Context(), ref(t, token, "object="+name), keystore.KeySpec{Type: keystore.P256}, withPIN(pkcs11test.PIN))
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		keys = append(keys, k)
	}
	other := pkcs11test.New(t).Token(t) // SOFTHSM2_CONF has changed
	open := func() error {
		k, err := pkcs11.Backend{}.Generate(t.Context(), ref(t, other, "object=a"), keystore.KeySpec{Type: keystore.P256}, withPIN(pkcs11test.PIN))
		if err == nil {
			err = k.Close()
		}
		return err
	}
	err := open()
	for _, want := range []string{"object=a", "object=b", "object=c", "1 more", "close them"} {
		if !errors.Is(err, signer.ErrUnavailable) || !strings.Contains(signer.Hint(err), want) {
			t.Errorf("error %v, hint %q: does not have %q", err, signer.Hint(err), want)
		}
	}
	for _, k := range keys {
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(); err != nil {
		t.Errorf("after Close: %v, hint %q", err, signer.Hint(err))
	}
}
