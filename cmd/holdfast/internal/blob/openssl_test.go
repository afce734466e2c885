package blob_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// opensslArgs returns the arguments with which OpenSSL signs a file (verb "sign", with
// key.pem), or verifies its signature (verb "verify", with key.pub), as the help says.
func opensslArgs(kind, verb, file, signature string) []string {
	hash := map[string]string{"p384": "-sha384", "p521": "-sha512"}[kind]
	if hash == "" {
		hash = "-sha256"
	}
	raw := kind == "ed25519" || strings.HasPrefix(kind, "ML-DSA")
	switch {
	case raw && verb == "verify":
		return []string{"pkeyutl", "-verify", "-pubin", "-inkey", "key.pub", "-rawin", "-in", file, "-sigfile", signature}
	case raw:
		return []string{"pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", file, "-out", signature}
	case verb == "verify":
		return []string{"dgst", hash, "-verify", "key.pub", "-signature", signature, file}
	}
	return []string{"dgst", hash, "-sign", "key.pem", "-out", signature, file}
}

// testWithOpenSSL signs the file app with key.pem, and verifies it both ways. chain is
// the number of certificates that are written.
func testWithOpenSSL(f *folder, openssl, kind string, chain int) {
	f.good(signApp...)
	pub := "key.pub"
	f.openssl(openssl, "x509", "-in", "app.sig.pem", "-pubkey", "-noout", "-out", pub)
	if n := bytes.Count(f.read("app.sig.pem"), []byte("-----BEGIN CERTIFICATE-----")); n != chain {
		f.Errorf("%d certificates", n)
	}
	f.openssl(openssl, opensslArgs(kind, "verify", "app", "app.sig")...)
	f.openssl(openssl, opensslArgs(kind, "sign", "app", "theirs.sig")...)

	trust := []string{"--trust-anchor", "ca.pem", "--subject", subject, "app"}
	block, _ := pem.Decode(f.read("cert.pem"))
	for _, signature := range []string{"app.sig", "theirs.sig"} {
		verify := []string{"verify-blob", "--signature", signature}
		want := fmt.Sprintf("app: signed by %s (certificate SHA-256 %x)\n", subject, sha256.Sum256(block.Bytes))
		if got := f.good(append(append(slices.Clone(verify), "--certificate", "app.sig.pem"), trust...)...); got != want {
			f.Errorf("%q, want %q", got, want)
		}
		if got := f.good(append(slices.Clone(verify), "--signer", "cert.pem", "app")...); got != want {
			f.Errorf("%q, want %q", got, want)
		}
		if got := f.good(append(slices.Clone(verify), "--signer", pub, "app")...); !strings.HasPrefix(got, "app: signed by the key ") || !strings.Contains(got, "(public key SHA-256 ") {
			f.Errorf("with the public key: %q", got)
		}

		good := f.read(signature)
		for _, i := range []int{0, len(good) / 2, len(good) - 1} {
			changed := slices.Clone(good)
			changed[i] ^= 1
			f.write("changed.sig", changed)
			f.bad(front.ExitOther, []string{"verify-blob", "--signature", "changed.sig", "--signer", pub, "app"}, "app: the signature does not verify: changed.sig")
		}
		for _, wrong := range [][]byte{good[:len(good)-1], append(slices.Clone(good), 0)} {
			f.write("changed.sig", wrong)
			f.bad(front.ExitOther, []string{"verify-blob", "--signature", "changed.sig", "--signer", pub, "app"}, "does not verify", "hint: ")
		}
		for _, content := range []string{"The program\n", "the program", "the program\n\n", ""} {
			f.write("other", []byte(content))
			f.bad(front.ExitOther, []string{"verify-blob", "--signature", signature, "--signer", "cert.pem", "other"}, "other: ", subject)
		}
	}
}

// OpenSSL verifies the signatures of sign-blob, and verify-blob those of OpenSSL.
func TestWithOpenSSL(t *testing.T) {
	openssl := signertest.Require(t, "openssl", "openssl")
	for _, kind := range signertest.KeyKinds() {
		t.Run(kind, func(t *testing.T) { testWithOpenSSL(newSigner(t, kind), openssl, kind, 2) })
	}
}

func TestMLDSAWithOpenSSL(t *testing.T) {
	openssl := signertest.OpenSSL35(t)
	for _, set := range []string{"ML-DSA-44", "ML-DSA-65", "ML-DSA-87"} {
		t.Run(set, func(t *testing.T) {
			f := newFolder(t)
			signertest.OpenSSLCA(t, ".", "ca", "ca", set)
			signertest.OpenSSLLeaf(t, ".", "ca", "cert", set, "-subj", "/O=Example/CN=Release 1")
			if err := os.Rename("cert-key.pem", "key.pem"); err != nil {
				t.Fatal(err)
			}
			f.write("app", []byte("the program\n"))
			testWithOpenSSL(f, openssl, set, 1)
		})
	}
}
