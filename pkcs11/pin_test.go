package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestPINCleared(t *testing.T) {
	for _, pin := range []string{fakePIN, "000000"} {
		token := newFakeToken("card")
		token.addKey(signertest.Key(t, "p256"), "key", "\x01").values[ckaAlwaysAuthenticate] = []byte{1}
		b := newFixture(t, token)
		var given [][]byte
		k, err := b.open(t, "pkcs11:", Config{PIN: func(context.Context, keystore.Prompt) ([]byte, error) {
			given = append(given, []byte(pin))
			return given[len(given)-1], nil
		}})
		if err == nil {
			if err := signOnce(k); err != nil {
				t.Error(err)
			}
			if err := k.Close(); err != nil {
				t.Error(err)
			}
		}
		if len(given) == 0 {
			t.Error("no prompt for the PIN")
		}
		for _, g := range given {
			if !bytes.Equal(g, make([]byte, len(pin))) {
				t.Errorf("PIN is %q after use", g)
			}
		}
	}
}

// A PIN source that is not interactive does not use a try after a wrong PIN.
func TestLastTryNotUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, []byte("000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"pin-value=000000", "pin-source=file:" + file, "pin-source=" + file} {
		token := newCard(t)
		b := newFixture(t, token)
		for try := 1; try <= 5; try++ {
			b.restart()
			_, err := b.open(t, "pkcs11:?"+query, Config{})
			want := signer.ErrPINIncorrect
			if try > 1 {
				want = signer.ErrPINRequired
			}
			if !errors.Is(err, want) {
				t.Errorf("%s, try %d: error %v, want %v", query, try, err, want)
			}
			if want == signer.ErrPINRequired && signer.Hint(err) == "" {
				t.Errorf("%s: no hint", query)
			}
		}
		if token.wrong != 1 {
			t.Errorf("%s: %d of %d tries were used, want 1", query, token.wrong, token.tries)
		}
	}
}

// Open uses the pin-value or pin-source of Config.URI.
func TestPINOfURI(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(file, []byte(fakePIN+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, query := range []string{"pin-value=" + fakePIN, "pin-source=" + file, "pin-source=file:" + file} {
		k := newFixture(t, newCard(t)).mustOpen(t, "pkcs11:?"+query, Config{})
		if err := signOnce(k); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
	if _, err := newFixture(t, newCard(t)).open(t, "pkcs11:?pin-source=%7Ccommand", Config{}); err == nil {
		t.Error("a command was accepted as a PIN source")
	}
}

func TestNoPIN(t *testing.T) {
	for name, pin := range map[string]keystore.PINFunc{
		"none":  nil,
		"empty": fixedPIN(""),
		"unavailable": func(context.Context, keystore.Prompt) ([]byte, error) {
			return nil, signer.ErrPINRequired
		},
	} {
		token := newCard(t)
		b := newFixture(t, token)
		if _, err := b.open(t, "pkcs11:", Config{PIN: pin}); !errors.Is(err, signer.ErrPINRequired) {
			t.Errorf("%s: error %v, want signer.ErrPINRequired", name, err)
		}
		if b.called("login") != 0 {
			t.Errorf("%s: logged in", name)
		}
	}
}
