//go:build linux && cgo

package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestTPM2 uses a TPM through tpm2-pkcs11, for users who already have such
// keys.
func TestTPM2(t *testing.T) {
	module := library(t, "tpm2-pkcs11", "/usr/lib/*/pkcs11/libtpm2_pkcs11.so", "/usr/lib64/pkcs11/libtpm2_pkcs11.so", "/usr/lib/pkcs11/libtpm2_pkcs11.so")
	tcti := library(t, "tpm2-pkcs11", "/usr/lib/*/libtss2-tcti-swtpm.so.0", "/usr/lib64/libtss2-tcti-swtpm.so.0", "/usr/lib/libtss2-tcti-swtpm.so.0")
	swtpm := signertest.Require(t, "swtpm", "swtpm")
	tool := signertest.Require(t, "opensc", "pkcs11-tool")
	if !inOwnProcess(t) {
		return
	}
	const pin, soPIN = "7531-tpm-pin", "9753-tpm-so-pin"
	state, store, socket := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "tpm")
	daemon(t, exec.CommandContext(t.Context(), swtpm, "socket", "--tpm2", "--tpmstate", "dir="+state,
		"--server", "type=unixio,path="+socket, "--ctrl", "type=unixio,path="+socket+".ctrl",
		"--flags", "not-need-init,startup-clear"), func() error {
		for _, file := range []string{socket, socket + ".ctrl"} {
			if _, err := os.Stat(file); err != nil {
				return err
			}
		}
		return nil
	})
	t.Setenv("TPM2_PKCS11_STORE", store)
	t.Setenv("TPM2_PKCS11_TCTI", tcti+":path="+socket)
	t.Setenv("TPM2_PKCS11_LOG_LEVEL", "0")
	command(t, tool, "--module", module, "--slot-index", "0", "--init-token", "--label", "tpm", "--so-pin", soPIN)
	command(t, tool, "--module", module, "--slot-index", "0", "--init-pin", "--login", "--login-type", "so", "--so-pin", soPIN, "--new-pin", pin)
	// tpm2-pkcs11 1.9.0 has crashed in C_Sign with several concurrent
	// sessions. It keeps the address of PSS parameters from C_SignInit to C_Sign, which
	// the binding for cgo does not.
	tok := token{uri: pkcs11.URI{Token: "tpm", ModulePath: module}, pin: pin, sessions: 1, unlisted: true}
	contract(t, tok, keystore.P256, keystore.RSA2048)
}
