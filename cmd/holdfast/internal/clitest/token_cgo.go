//go:build cgo

package clitest

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TokenIdentities makes keys on a SoftHSM token, with certificates of ca.
func TokenIdentities(t testing.TB, ca *signertest.CA) []Identity {
	t.Helper()
	signertest.Require(t, "softhsm", "softhsm2-util")
	uri, err := pkcs11.ParseURI(pkcs11test.New(t).Token(t))
	if err != nil {
		t.Fatal(err)
	}
	call := keystore.Call{Options: keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pkcs11test.PIN), nil }}}
	var all []Identity
	for _, kind := range []keystore.KeyType{keystore.P256, keystore.RSA2048} {
		uri.Object = string(kind)
		ref, err := keystore.ParseRef(uri.String())
		if err != nil {
			t.Fatal(err)
		}
		key, err := pkcs11.Backend{}.Generate(t.Context(), ref, keystore.KeySpec{Type: kind}, call)
		if err != nil {
			t.Fatal(err)
		}
		leaf := ca.Issue(t, key, nil)
		if err := key.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := (pkcs11.Backend{}).Install(t.Context(), ref, keystore.Installation{Certificates: append([]*x509.Certificate{leaf}, ca.Chain()...)}, call); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for name, data := range map[string][]byte{
			"ca.pem":   signertest.CertPEM(ca.Root()),
			"cert.pem": signertest.CertPEM(leaf),
			"pin":      []byte(pkcs11test.PIN + "\n"),
		} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, Identity{
			Name:  "softhsm-" + string(kind),
			Dir:   dir,
			Flags: []string{"--certificate", ref.String(), "--pin-source", "file:" + filepath.Join(dir, "pin")},
			Env:   []string{"SOFTHSM2_CONF=" + os.Getenv("SOFTHSM2_CONF")},
		})
	}
	return all
}

// FaultyModule returns a module in dir that passes on to the one in
// FAULT_MODULE, and fails by the rules in the file FAULT_RULES.
func FaultyModule(t testing.TB, dir string) string {
	t.Helper()
	return pkcs11test.FaultModule(t, signertest.Require(t, "cc", "cc"), dir)
}
