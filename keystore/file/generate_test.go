package file

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Every type of key is written, with and without a password, as OpenSSL reads it.
func TestGenerate(t *testing.T) {
	openssl := signertest.Require(t, "openssl", "openssl")
	for i, kind := range keystore.KeyTypes() {
		password := []string{"", "correct horse"}[i%2]
		ref := keystore.Ref{Scheme: keystore.SchemeFile, Rest: filepath.Join(t.TempDir(), "key.pem")}
		call := keystore.Call{Options: keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(password), nil }}}
		key, err := Backend{}.Generate(t.Context(), ref, keystore.KeySpec{Type: kind}, call)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(ref.Rest)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
		opened, err := Backend{}.Open(t.Context(), key.Ref(), call)
		if err != nil {
			t.Fatal(err)
		}
		if !signer.SamePublicKey(opened.Public(), key.Public()) {
			t.Errorf("%s: another key", kind)
		}
		entries, err := Backend{}.List(t.Context(), ref, keystore.Call{})
		if err != nil || len(entries) != 1 || entries[0].Plaintext != (password == "") {
			t.Errorf("%s: %+v, %v", kind, entries, err)
		}
		if out, err := exec.Command(openssl, "pkey", "-in", ref.Rest, "-passin", "pass:"+password, "-noout", "-check").CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", kind, err, out)
		}
		if _, err := (Backend{}).Generate(t.Context(), ref, keystore.KeySpec{Type: kind}, call); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a second key: %v", err)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	for text, want := range map[string]error{"env:KEY": errors.ErrUnsupported, "-": errors.ErrUnsupported, filepath.Join(t.TempDir(), "nowhere", "key.pem"): fs.ErrNotExist} {
		ref, err := keystore.ParseRef(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Backend{}.Generate(t.Context(), ref, keystore.KeySpec{Type: keystore.P256}, keystore.Call{})
		if !errors.Is(err, want) || strings.Contains(err.Error(), ".holdfast-") {
			t.Errorf("%s: %v", text, err)
		}
	}
	ref := keystore.Ref{Scheme: keystore.SchemeFile, Rest: filepath.Join(t.TempDir(), "key.pem")}
	if _, err := (Backend{}).Generate(t.Context(), ref, keystore.KeySpec{Type: "dsa"}, keystore.Call{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

// A key in PKCS #12 counts as plaintext if it has no encryption, whatever the
// password of the MAC, or if the password is empty.
func TestPlaintextInPKCS12(t *testing.T) {
	openssl := signertest.Require(t, "openssl", "openssl")
	dir := t.TempDir()
	pemFile := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(pemFile, signertest.KeyPEM(t, signertest.Key(t, "p256")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args      []string
		plaintext bool
	}{
		{[]string{"-passout", "pass:x"}, false},
		{[]string{"-passout", "pass:x", "-nomac"}, false},
		{[]string{"-passout", "pass:"}, true},
		{[]string{"-passout", "pass:", "-nomac"}, true},
		{[]string{"-passout", "pass:x", "-keypbe", "NONE"}, true},
		{[]string{"-passout", "pass:x", "-keypbe", "NONE", "-certpbe", "NONE", "-nomac"}, true},
	} {
		ref := keystore.Ref{Scheme: keystore.SchemeFile, Rest: filepath.Join(dir, "key.p12")}
		args := append([]string{"pkcs12", "-export", "-nocerts", "-inkey", pemFile, "-out", ref.Rest}, test.args...)
		if out, err := exec.Command(openssl, args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		entries, err := Backend{}.List(t.Context(), ref, keystore.Call{})
		plaintext := len(entries) == 1 && entries[0].Plaintext
		if plaintext != test.plaintext || err != nil && !errors.Is(err, signer.ErrPINRequired) {
			t.Errorf("%q: %+v, %v", test.args, entries, err)
		}
	}
}
