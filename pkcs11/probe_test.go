//go:build cgo && unix

package pkcs11

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A library without a function list has crashed the binding.
func TestLoadInvalidModule(t *testing.T) {
	signertest.Require(t, "opensc", "pkcs11-tool")
	one := func(pattern string) string {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s", pattern)
		}
		return found[0]
	}
	t.Setenv("PKCS11SPY", filepath.Join(t.TempDir(), "none.so"))
	for _, path := range []string{
		one("/usr/lib/*/pkcs11-spy.so"), // the module behind it does not exist
		one("/lib/*/libc.so.6"),
		filepath.Join(t.TempDir(), "none.so"),
		"/etc/passwd",
	} {
		if m, err := load(path); m != nil || !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
			t.Errorf("%s: got %v, error %v", path, m, err)
		}
	}
}
