package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// tpmIdentities makes keys in a TPM, with certificates of ca.
func tpmIdentities(t testing.TB, ca *signertest.CA) []clientIdentity {
	t.Helper()
	signertest.Require(t, "swtpm", "swtpm")
	emulator := tpmtest.Start(t)
	device := ";" + keystore.FormatAttribute("device", emulator.Path)
	var identities []clientIdentity
	for _, test := range []struct {
		name, ref string
		kind      keystore.KeyType
		flags     []string
	}{
		{"tpm-p256", "tpm:path=key.pem", keystore.P256, nil},
		{"tpm-p256-password", "tpm:path=key.pem", keystore.P256, []string{"--pin-source", "file:pin"}},
		{"tpm-rsa2048-handle", "tpm:handle=0x81010002", keystore.RSA2048, nil},
	} {
		dir := t.TempDir()
		t.Chdir(dir)
		write := func(name string, data []byte) {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("pin", []byte("a password\n"))
		store, opts := all.New(), keystore.Options{}
		if test.flags != nil {
			source, err := keystore.ParsePINSource(test.flags[1])
			if err != nil {
				t.Fatal(err)
			}
			if opts.PIN, err = store.PINSource(source, opts); err != nil {
				t.Fatal(err)
			}
			test.flags = []string{"--pin-source", "file:" + filepath.Join(dir, "pin")}
		}
		made, err := keystore.ParseRef(test.ref + device)
		if err != nil {
			t.Fatal(err)
		}
		key, err := store.Generate(t.Context(), made, keystore.KeySpec{Type: test.kind}, opts)
		if err != nil {
			t.Fatal(err)
		}
		write("ca.pem", signertest.CertPEM(ca.Root()))
		write("cert.pem", append(signertest.CertPEM(ca.Issue(t, key, nil)), signertest.CertPEM(ca.Chain()...)...))
		if err := key.Close(); err != nil {
			t.Fatal(err)
		}
		ref := test.ref
		if ref == "tpm:path=key.pem" {
			ref = filepath.Join(dir, "key.pem")
		}
		identities = append(identities, clientIdentity{
			name:  test.name,
			dir:   dir,
			flags: append([]string{"--certificate", filepath.Join(dir, "cert.pem"), "--private-key", ref}, test.flags...),
			env:   []string{"TPM_DEVICE=" + emulator.Path},
		})
	}
	return identities
}
