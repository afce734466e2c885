package all

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func pkcs11Contract(t *testing.T) keystore.Ref {
	signertest.Require(t, "softhsm", "softhsm2-util")
	pkcs11test.UseHelper(t) // in builds without cgo
	uri, err := pkcs11.ParseURI(pkcs11test.New(t).Token(t))
	if err != nil {
		t.Fatal(err)
	}
	uri.Object, uri.PINSource = "key", filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(uri.PINSource, []byte(pkcs11test.PIN), 0o600); err != nil {
		t.Fatal(err)
	}
	ref := refOf(t, uri.String())
	key, err := pkcs11.Backend{}.Generate(t.Context(), ref, keystore.KeySpec{Type: keystore.P256}, keystore.Call{})
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Close(); err != nil {
		t.Fatal(err)
	}
	return ref
}
