package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A TPM seals the key of the state file. Another TPM cannot unseal it.
func TestSeal(t *testing.T) {
	signertest.Require(t, "swtpm", "swtpm")
	dir := t.TempDir()
	app := front.App{Store: all.New(), Now: time.Now}
	reference := func(device string) string {
		return "tpm:path=" + filepath.Join(dir, "seal.pem") + ";" + keystore.FormatAttribute("device", device)
	}
	first := tpmtest.Start(t)
	now := time.Now()
	f := stateAt(filepath.Join(dir, "session"), now)
	var err error
	if f.seal, err = openSeal(t.Context(), app, reference(first.Path)); err != nil {
		t.Fatal(err)
	}
	want := testSession(now)
	if err := f.save(want); err != nil {
		t.Fatal(err)
	}
	again := stateAt(f.path, now)
	if again.seal, err = openSeal(t.Context(), app, reference(first.Path)); err != nil {
		t.Fatal(err)
	}
	if got, err := again.load(); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "seal.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openSeal(t.Context(), app, reference(tpmtest.Start(t).Path)); err == nil {
		t.Error("another TPM unseals the key")
	}
	if after, err := os.ReadFile(filepath.Join(dir, "seal.pem")); err != nil || string(after) != string(before) {
		t.Errorf("the sealed key was changed: %v", err)
	}
	for _, bad := range []string{"", "vault:x", "tpm:", filepath.Join(dir, "session")} {
		if _, err := openSeal(t.Context(), app, bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
