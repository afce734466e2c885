//go:build cgo

package main

import (
	"context"
	"crypto/x509"
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

// tokenIdentities makes keys on a SoftHSM token, with certificates of ca.
func tokenIdentities(t testing.TB, ca *signertest.CA) []clientIdentity {
	t.Helper()
	signertest.Require(t, "softhsm", "softhsm2-util")
	uri, err := pkcs11.ParseURI(pkcs11test.New(t).Token(t))
	if err != nil {
		t.Fatal(err)
	}
	opts := keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pkcs11test.PIN), nil }}
	var all []clientIdentity
	for _, kind := range []keystore.KeyType{keystore.P256, keystore.RSA2048} {
		uri.Object = string(kind)
		ref, err := keystore.ParseRef(uri.String())
		if err != nil {
			t.Fatal(err)
		}
		key, err := pkcs11.Backend{}.Generate(t.Context(), ref, keystore.KeySpec{Type: kind}, opts)
		if err != nil {
			t.Fatal(err)
		}
		leaf := ca.Issue(t, key, nil)
		if err := key.Close(); err != nil {
			t.Fatal(err)
		}
		if err := (pkcs11.Backend{}).Install(t.Context(), ref, append([]*x509.Certificate{leaf}, ca.Chain()...), opts); err != nil {
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
		all = append(all, clientIdentity{
			name:  "softhsm-" + string(kind),
			dir:   dir,
			flags: []string{"--certificate", ref.String(), "--pin-source", "file:" + filepath.Join(dir, "pin")},
			env:   []string{"SOFTHSM2_CONF=" + os.Getenv("SOFTHSM2_CONF")},
		})
	}
	return all
}

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
	opts := keystore.Options{PIN: func(context.Context, keystore.Prompt) ([]byte, error) { return []byte(pkcs11test.PIN), nil }}
	key, err := pkcs11.Backend{}.Generate(b.Context(), ref, keystore.KeySpec{Type: keystore.P256}, opts)
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
