package clitest

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// An Identity is a key with what its folder holds: ca.pem and cert.pem.
type Identity struct {
	Name, Dir  string
	Flags, Env []string
}

// TPMIdentities makes keys in a TPM, with certificates of ca.
func TPMIdentities(t testing.TB, ca *signertest.CA) []Identity {
	t.Helper()
	signertest.Require(t, "swtpm", "swtpm")
	emulator := tpmtest.Start(t)
	device := ";" + keystore.FormatAttribute("device", emulator.Path)
	var identities []Identity
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
		identities = append(identities, Identity{
			Name:  test.name,
			Dir:   dir,
			Flags: append([]string{"--certificate", filepath.Join(dir, "cert.pem"), "--private-key", ref}, test.flags...),
			Env:   []string{"TPM_DEVICE=" + emulator.Path},
		})
	}
	return identities
}

// Serial returns the serial number of the first certificate in a file as the
// service puts it into the session's name.
func Serial(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(data)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	s := cert.SerialNumber.Text(16)
	return strings.Repeat("0", len(s)%2) + s
}
