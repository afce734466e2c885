//go:build linux && cgo

package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const p11kitModules = "/usr/share/p11-kit/modules"

// configureP11Kit configures p11-kit for exactly the given modules. modules
// maps names to the contents of .module files.
func configureP11Kit(t *testing.T, modules map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range modules {
		writeFile(t, filepath.Join(dir, name+".module"), text)
	}
	bindMount(t, p11kitModules, dir)
	t.Setenv("P11_KIT_NO_USER_CONFIG", "1")
}

func proxy(t *testing.T) string {
	t.Helper()
	library(t, "p11kit", p11kitModules)
	return library(t, "p11kit", "/usr/lib/*/p11-kit-proxy.so", "/usr/lib64/p11-kit-proxy.so", "/usr/lib/p11-kit-proxy.so")
}

// TestProxy finds a token through p11-kit's proxy, which combines two modules.
// A reference without a module also uses the proxy.
func TestProxy(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	path := proxy(t)
	if !inMountNamespace(t, "p11kit") {
		return
	}
	tok := softHSM(t, "")
	configureP11Kit(t, map[string]string{
		"softhsm": "module: " + tok.uri.ModulePath + "\n",
		"trust":   "module: p11-kit-trust.so\ncritical: no\n",
	})
	tok.uri.ModulePath = path
	contract(t, tok, keystore.RSA2048, keystore.P256, keystore.P384)

	tok.uri.ModulePath = ""
	eachIsolation(t, tok, func(t *testing.T, tok token) {
		s := tok.open(t, tok.ref(string(keystore.P256)+"-"+tok.uri.Isolation, ""), 2)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestRemote uses a token through p11-kit server, which runs in another
// process, as from a container or over a forwarded socket.
func TestRemote(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	server := signertest.Require(t, "p11kit", "p11-kit")
	client := library(t, "p11kit", "/usr/lib/*/pkcs11/p11-kit-client.so", "/usr/lib64/pkcs11/p11-kit-client.so", "/usr/lib/pkcs11/p11-kit-client.so")
	if !inOwnProcess(t) {
		return
	}
	tok := softHSM(t, "")
	socket := filepath.Join(t.TempDir(), "p11")
	cmd := exec.CommandContext(t.Context(), server, "server", "--foreground", "--name", socket, "--provider", tok.uri.ModulePath, "pkcs11:token="+tok.uri.Token)
	daemon(t, cmd, func() error { _, err := os.Stat(socket); return err })
	t.Setenv("P11_KIT_SERVER_ADDRESS", "unix:path="+socket)
	tok.uri.ModulePath = client
	contract(t, tok, keystore.RSA2048, keystore.P256, keystore.P384)
}
