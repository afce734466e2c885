package all

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// TestSealedPIN opens a key on a SoftHSM token and a TPM key with a PIN that is
// sealed by the TPM.
func TestSealedPIN(t *testing.T) {
	extend := signertest.Require(t, "tpm2-tools", "tpm2_pcrextend")
	signertest.Require(t, "swtpm", "swtpm")
	uri, err := pkcs11.ParseURI(pkcs11Contract(t).String())
	if err != nil {
		t.Fatal(err)
	}
	emulator := tpmtest.Start(t)
	dir := t.TempDir()
	device := ";" + keystore.FormatAttribute("device", emulator.Path)
	write := func(name string, data []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	sealed := func(name string, cfg tpm.CreateConfig) string {
		t.Helper()
		cfg.Device = emulator.Path
		data, err := tpm.Seal(t.Context(), cfg, []byte(pkcs11test.PIN+"\n"))
		return write(name, data, err)
	}
	const password = "seal-9753"
	plain := sealed("plain;100%.pem", tpm.CreateConfig{})
	bound := sealed("bound.pem", tpm.CreateConfig{PCRs: []tpm.PCRs{{Hash: crypto.SHA256, Numbers: []uint{16}}}})
	guarded := sealed("guarded.pem", tpm.CreateConfig{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(password), nil }})
	passwordFile := write("password", []byte(password), nil)
	own, err := tpm.Create(t.Context(), tpm.CreateConfig{Device: emulator.Path, PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pkcs11test.PIN), nil }}, keystore.P256)
	ownKey := write("own.pem", own, err)

	sealedRef := func(path, more string) string {
		return "tpm:" + keystore.FormatAttribute("path", path) + device + more
	}
	token := func(source string) string {
		u := uri
		u.PINSource = source
		return u.String()
	}
	tpmKey := func(source string) string {
		return "tpm:" + keystore.FormatAttribute("path", ownKey) + device + ";" + keystore.FormatAttribute("pin-source", source)
	}
	boundRef := token(sealedRef(bound, ""))
	for _, c := range []struct {
		name string
		ref  string
		want []error // nil: it opens
	}{
		{"plain", token(sealedRef(plain, "")), nil},
		{"device from a variable", token("tpm:" + keystore.FormatAttribute("path", plain)), nil},
		{"PCRs", boundRef, nil},
		{"sealed secret with a password", token(sealedRef(guarded, ";pin-source=file:"+passwordFile)), nil},
		{"for a TPM key", tpmKey(sealedRef(plain, "")), nil},
		{"sealed secret without its password", token(sealedRef(guarded, "")), []error{signer.ErrPINRequired}},
		{"sealed secret with a sealed password", token(sealedRef(guarded, ";"+keystore.FormatAttribute("pin-source", sealedRef(plain, "")))), []error{signer.ErrPINRequired}},
		{"sealed secret with a sealed password, for a TPM key", tpmKey(sealedRef(guarded, ";"+keystore.FormatAttribute("pin-source", sealedRef(plain, "")))), []error{signer.ErrPINRequired}},
		{"key file instead of a sealed secret", token(sealedRef(ownKey, ";pin-value="+pkcs11test.PIN)), []error{signer.ErrPINRequired, errors.ErrUnsupported}},
		{"persistent key instead of a sealed secret", token("handle:81010002"), []error{signer.ErrPINRequired, errors.ErrUnsupported}},
		{"no such file", token(sealedRef(filepath.Join(dir, "none"), "")), []error{signer.ErrPINRequired, os.ErrNotExist}},
		{"sealed secret as a file: reference", token("file:" + bound), []error{signer.ErrPINRequired}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := signOnce(t, c.ref, emulator)
			if c.want == nil && err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				if !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			}
		})
	}
	cmd := exec.CommandContext(t.Context(), extend, "16:sha256=0000000000000000000000000000000000000000000000000000000000000000")
	cmd.Env = append(os.Environ(), "TPM2TOOLS_TCTI="+emulator.TCTI())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	err = signOnce(t, boundRef, emulator)
	for _, want := range []error{signer.ErrPINRequired, signer.ErrUnavailable} {
		if !errors.Is(err, want) {
			t.Errorf("after a PCR changed: %v, want %v", err, want)
		}
	}
	if signer.Hint(err) == "" {
		t.Errorf("%v has no hint", err)
	}
	t.Log(err)
}

// signOnce opens a key and signs with it.
func signOnce(t *testing.T, ref string, emulator *tpmtest.TPM) error {
	t.Helper()
	key, err := New().Open(t.Context(), refOf(t, ref), keystore.Options{LookupEnv: func(name string) (string, bool) {
		return emulator.Path, name == "TPM_DEVICE"
	}})
	if err != nil {
		return err
	}
	defer key.Close()
	digest := sha256.Sum256([]byte("message"))
	sig, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	if !ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), digest[:], sig) {
		t.Error("wrong signature")
	}
	return nil
}
