//go:build cgo

package pkcs11

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// SoftHSM leaves out a token whose file another process has just emptied to write
// it again. The module is initialized until it shows the token.
func TestSettleSoftHSM(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	hsm := pkcs11test.New(t)
	hsm.Token(t)
	// Another name is another library, which no other test has initialized.
	path := filepath.Join(t.TempDir(), "libsofthsm2-settle.so")
	code, err := os.ReadFile(hsm.Module)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, code, 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(hsm.Dir, "tokens", "*", "token.object"))
	if err != nil || len(files) != 1 {
		t.Fatalf("token files %v, error %v", files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, attempts := range map[string]int{"written at once": 0, "written soon": 3, "never written": settleAttempts} {
		t.Run(name, func(t *testing.T) {
			content := whole
			if attempts > 0 {
				content = nil
			}
			if err := os.WriteFile(files[0], content, 0o600); err != nil {
				t.Fatal(err)
			}
			mod, err := load(path)
			if err != nil {
				t.Fatal(err)
			}
			l := mod.(library)
			defer func() { _ = l.finalize() }()
			pauses := 0
			err = settleSoftHSM(l, l.again, func() {
				if pauses++; pauses == attempts && attempts < settleAttempts {
					if err := os.WriteFile(files[0], whole, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			})
			if err != nil || pauses != attempts {
				t.Errorf("%d pauses, error %v, want %d pauses", pauses, err, attempts)
			}
			want := 1
			if attempts == settleAttempts {
				want = 0
			}
			if shown, err := tokens(l, URI{}); err != nil || len(shown) != want {
				t.Errorf("%d tokens, error %v, want %d", len(shown), err, want)
			}
		})
	}
}
