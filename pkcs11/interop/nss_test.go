//go:build linux && cgo

package interop

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestNSS uses the softoken of NSS, in which programs of Mozilla and Red Hat
// store keys. Its folder is an argument of C_Initialize, which p11-kit passes.
func TestNSS(t *testing.T) {
	softoken := library(t, "nss", "/usr/lib/*/libsoftokn3.so", "/usr/lib64/libsoftokn3.so", "/usr/lib/libsoftokn3.so")
	certutil := signertest.Require(t, "nss", "certutil")
	path := proxy(t)
	if !inMountNamespace(t, "nss") {
		return
	}
	const pin = "8642-nss-pin"
	dir := t.TempDir()
	pinFile := filepath.Join(t.TempDir(), "pin")
	writeFile(t, pinFile, pin)
	command(t, certutil, "-N", "-d", "sql:"+dir, "-f", pinFile)
	configureP11Kit(t, map[string]string{"nss": fmt.Sprintf(
		"module: %s\nx-init-reserved: configdir='sql:%s' certPrefix='' keyPrefix='' secmod='secmod.db' flags=\n", softoken, dir)})
	// NSS 3 reports CKA_LOCAL as false for keys that it has generated.
	const claims = "[{CKA_LOCAL false} {CKA_NEVER_EXTRACTABLE true} {CKA_ALWAYS_SENSITIVE true}]"
	tok := token{uri: pkcs11.URI{Token: "NSS Certificate DB", ModulePath: path}, pin: pin, claims: claims}
	contract(t, tok, keystore.RSA2048, keystore.P256, keystore.P384)
}
