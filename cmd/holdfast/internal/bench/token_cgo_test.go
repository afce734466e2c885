//go:build cgo

package bench

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// bareToken returns a program that signs once with the token's first key, by
// the calls that are needed and nothing else.
func bareToken(b *testing.B, dir string) (line, env []string) {
	b.Helper()
	hsm := pkcs11test.New(b)
	uri, err := pkcs11.ParseURI(hsm.Token(b))
	if err != nil {
		b.Fatal(err)
	}
	uri.Object = "bare"
	ref, err := keystore.ParseRef(uri.String())
	if err != nil {
		b.Fatal(err)
	}
	call := keystore.Call{Options: keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pkcs11test.PIN), nil }}}
	key, err := pkcs11.Backend{}.Generate(b.Context(), ref, keystore.KeySpec{Type: keystore.P256}, call)
	if err != nil {
		b.Fatal(err)
	}
	if err := key.Close(); err != nil {
		b.Fatal(err)
	}
	cflags, err := exec.Command(signertest.Require(b, "p11-kit-dev", "pkg-config"), "--cflags", "p11-kit-1").Output()
	if err != nil {
		b.Fatal(err)
	}
	program := filepath.Join(dir, "bare")
	args := append(strings.Fields(string(cflags)), "-O2", "-o", program, filepath.Join("testdata", "bare_pkcs11.c"), "-ldl")
	if out, err := exec.Command(signertest.Require(b, "cc", "cc"), args...).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return []string{program, hsm.Module, "bare"}, []string{"SOFTHSM2_CONF=" + os.Getenv("SOFTHSM2_CONF"), "PIN=" + pkcs11test.PIN}
}
