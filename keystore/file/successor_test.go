package file

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// The successor of an encrypted key is encrypted with the password that opens the old
// one, and one that is not encrypted is refused.
func TestSuccessorIsEncrypted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	// GenerateSuccessor does not decrypt the old key.
	old := "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	ref, err := keystore.ParseRef(path)
	if err != nil {
		t.Fatal(err)
	}
	next, public := path+keystore.SuccessorSuffix, signertest.Key(t, "p256").Public()
	password := func(text string) keystore.Call {
		return keystore.Call{Options: keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(text), nil }}}
	}
	if k, err := (Backend{}).GenerateSuccessor(t.Context(), ref, keystore.KeySpec{Type: keystore.P256}, public, password("")); !errors.Is(err, signer.ErrPINRequired) {
		t.Fatal(k, err)
	}
	k, err := Backend{}.GenerateSuccessor(t.Context(), ref, keystore.KeySpec{Type: keystore.P256}, public, password("secret"))
	if err != nil {
		t.Fatal(err)
	}
	k.Close()
	if data, err := os.ReadFile(next); err != nil || !strings.HasPrefix(string(data), "-----BEGIN ENCRYPTED PRIVATE KEY-----") {
		t.Errorf("%.40s, %v", data, err)
	}
	if err := os.WriteFile(next, signertest.KeyPEM(t, signertest.NewKey(t, "p256")), 0o600); err != nil {
		t.Fatal(err)
	}
	if k, err := (Backend{}).GenerateSuccessor(t.Context(), ref, keystore.KeySpec{Type: keystore.P256}, public, password("secret")); err == nil || !strings.Contains(err.Error(), "not protected like the old key") || signer.Hint(err) == "" {
		t.Error(k, err)
	}
}
