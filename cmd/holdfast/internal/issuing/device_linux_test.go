//go:build cgo

package issuing_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// object returns a reference to a key of a token, whose PIN is in a variable.
func object(token, name, variable string) string {
	path, query, _ := strings.Cut(token, "?")
	return path + ";object=" + name + "?" + query + "&pin-source=env:" + variable
}

// lifeOf issues, revokes and lists with the key of a CA, for a key.
func lifeOf(t *testing.T, dir, caKey, key string) {
	t.Helper()
	mustRun(t, dir, "ca", "init", "--private-key", caKey, "--generate", "p256", "--subject", "CN=CA")
	mustRun(t, dir, "generate", "--private-key", key)
	csr := mustRun(t, dir, "csr", "--private-key", key, "--subject", "CN=app")
	if err := os.WriteFile(filepath.Join(dir, "app.csr"), []byte(csr), 0o600); err != nil {
		t.Fatal(err)
	}
	cert := mustRun(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app")
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), []byte(cert), 0o600); err != nil {
		t.Fatal(err)
	}
	again := mustRun(t, dir, "csr", "--private-key", key, "--names-from", "cert.pem")
	if !strings.Contains(again, "BEGIN CERTIFICATE REQUEST") {
		t.Error(again)
	}
	mustRun(t, dir, "csr", "--private-key", key, "--renew", "cert.pem", "--out", "renewal.p7")
	mustRun(t, dir, "ca", "issue", "--renew", "renewal.p7", "--out", "renewed.pem")
	renewInLoop(t, dir, key, "renewed.pem")
	mustRun(t, dir, "ca", "revoke", "--certificate", "cert.pem")
	mustRun(t, dir, "ca", "crl")
	if got := mustRun(t, dir, "ca", "check"); !strings.Contains(got, "the index lists 6 certificates") {
		t.Error(got)
	}
}

// The keys of the CA and of the machine are in a token.
func TestToken(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	dir := t.TempDir()
	token := pkcs11test.New(t).Token(t)
	t.Setenv("CA_PIN", pkcs11test.PIN)
	t.Setenv("WRONG_PIN", "864201")
	lifeOf(t, dir, object(token, "ca", "CA_PIN"), object(token, "app", "CA_PIN"))
	settings, err := os.ReadFile(filepath.Join(dir, "ca", "ca.toml"))
	if err != nil || !strings.Contains(string(settings), "object=ca") || strings.Contains(string(settings), pkcs11test.PIN) {
		t.Errorf("%s, %v", settings, err)
	}
	before, err := os.ReadFile(filepath.Join(dir, "ca", "index.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	// The first way out is a new key, not that of the application.
	_, _, err = runIn(t, dir, 0, "ca", "init", "--dir", "other", "--private-key", object(token, "none", "CA_PIN"), "--subject", "CN=CA")
	if err == nil || !strings.Contains(err.Error(), "hint: to create this key, add --generate p256; otherwise use one of: 'pkcs11:") {
		t.Errorf("no such key for a new CA: %v", err)
	}
	for _, c := range []struct{ name, key, want string }{
		{"no PIN", object(token, "ca", "NO_PIN"), "exit status 4"},
		{"no such key", object(token, "none", "CA_PIN"), "exit status 3"},
		{"no such token", "pkcs11:token=none;object=ca?module-path=" + token[strings.LastIndex(token, "=")+1:], "exit status 5"},
		{"another key", object(token, "app", "CA_PIN"), "the key of the CA is not that of its certificate"},
		{"no such module", "pkcs11:object=ca?module-path=/nowhere.so", "exit status 3"},
		// Afterwards only a person uses a try.
		{"wrong PIN", object(token, "ca", "WRONG_PIN"), "exit status 4"},
		{"PIN after a wrong one", object(token, "ca", "CA_PIN"), "type it once on a terminal: holdfast list --in 'pkcs11:token="},
	} {
		for _, args := range [][]string{
			{"ca", "issue", "--csr", "app.csr", "--subject", "CN=app"},
			{"ca", "crl"},
		} {
			out, _, err := runIn(t, dir, 0, append(args, "--private-key", c.key)...)
			if err == nil || out != "" || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "864201") {
				t.Errorf("%s: %q, %v; want %q", c.name, out, err, c.want)
			}
		}
		if _, _, err := runIn(t, dir, 0, "csr", "--private-key", c.key, "--subject", "CN=app"); (err == nil) != (c.name == "another key") {
			t.Errorf("%s: csr: %v", c.name, err)
		}
	}
	after, err := os.ReadFile(filepath.Join(dir, "ca", "index.jsonl"))
	if err != nil || string(after) != string(before) {
		t.Errorf("the index has changed: %s, %v", after, err)
	}
	// A key that exists is not replaced, and no folder is made.
	if _, _, err := runIn(t, dir, 0, "ca", "init", "--dir", "other", "--private-key", object(token, "ca", "CA_PIN"), "--generate", "p256", "--subject", "CN=CA"); err == nil {
		t.Error("a second key with the name of the first")
	}
	if _, err := os.Stat(filepath.Join(dir, "other")); err == nil {
		t.Error("a folder without a CA")
	}
}

// The key of the CA is in a TPM.
func TestTPM(t *testing.T) {
	signertest.Require(t, "swtpm", "swtpm")
	dir := t.TempDir()
	device := tpmtest.Start(t).Path
	lifeOf(t, dir, fmt.Sprintf("tpm:path=%s;device=%s", filepath.Join(dir, "ca.tpm"), device), fmt.Sprintf("tpm:path=%s;device=%s", filepath.Join(dir, "app.tpm"), device))
	// If the TPM is away, the settings are right.
	file := filepath.Join(dir, "ca", "ca.toml")
	settings, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(strings.ReplaceAll(string(settings), device, filepath.Join(dir, "away"))), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := runIn(t, dir, 0, "ca", "crl"); err == nil || !strings.Contains(err.Error(), "hint: ") || strings.Contains(err.Error(), "correct it in") {
		t.Errorf("no TPM: %v", err)
	}
}
