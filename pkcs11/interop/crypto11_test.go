//go:build linux && cgo

package interop

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestCrypto11 signs with keys that crypto11 created, as other programs use it,
// and signs through crypto11 with keys that this package created.
func TestCrypto11(t *testing.T) {
	signertest.Require(t, "softhsm", "softhsm2-util")
	if !inOwnProcess(t) {
		return
	}
	program := buildCrypto11(t)
	tok := softHSM(t, "")
	const (
		theirRSA, theirEC = "rsa of crypto11", "p256 of crypto11"
		ourRSA, ourEC     = "rsa", "p256"
	)
	id := func(label string) string { return "id of " + label }
	crypto11 := func(args ...string) string {
		return command(t, program, slices.Concat([]string{tok.uri.ModulePath, tok.uri.Token, tok.pin}, args)...)
	}

	crypto11("make", theirRSA, theirEC)
	for _, label := range []string{theirRSA, theirEC} {
		for _, ref := range []keystore.Ref{tok.ref(label, ""), tok.ref("", id(label)), tok.ref(label, id(label))} {
			s, err := backend.Open(t.Context(), ref, tok.call())
			if err != nil {
				t.Errorf("%v: %v", ref, err)
				continue
			}
			if err := signMessage(s, "message"); err != nil {
				t.Errorf("%v: %v", ref, err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("%v: %v", ref, err)
			}
		}
	}

	tok.generate(t, tok.ref(ourRSA, id(ourRSA)), keystore.RSA2048)
	tok.generate(t, tok.ref(ourEC, id(ourEC)), keystore.P256)
	lines := json.NewDecoder(strings.NewReader(crypto11("sign", ourRSA, ourEC)))
	for _, label := range []string{ourRSA, ourEC} {
		var found struct{ Public, Signature, Certificate []byte }
		if err := lines.Decode(&found); err != nil {
			t.Fatalf("%s: %v", label, err)
		}
		public, err := x509.ParsePKIXPublicKey(found.Public)
		if err != nil {
			t.Fatalf("%s: %v", label, err)
		}
		digest := sha256.Sum256([]byte("message"))
		if err := verify(public, digest[:], found.Signature); err != nil {
			t.Errorf("%s: signature by crypto11: %v", label, err)
		}
		cert, err := x509.ParseCertificate(found.Certificate)
		if err != nil {
			t.Errorf("%s: certificate found by crypto11: %v", label, err)
		} else if !signer.SamePublicKey(cert.PublicKey, public) {
			t.Errorf("%s: crypto11 finds the certificate of another key", label)
		}
	}
}

// buildCrypto11 builds the program in testdata/crypto11.
func buildCrypto11(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "crypto11")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".")
	build.Dir = filepath.Join("testdata", "crypto11")
	if out, err := build.CombinedOutput(); err != nil {
		t.Logf("go build: %v\n%s", err, out) // Require skips or fails the test
	}
	return signertest.Require(t, "crypto11", path)
}
