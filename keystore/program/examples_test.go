//go:build unix

package program_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore/program"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

const examples = "../../examples/exec"

// example returns the path of a copy of an example, which others cannot change.
func example(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	// Another process copies it; see clitest.WriteProgram.
	cmd := exec.Command("sh", "-c", `cp "$1" "$2" && chmod 755 "$2"`, "sh", filepath.Join(examples, name), path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func TestExamples(t *testing.T) {
	for _, test := range []struct {
		name  string
		needs func(*testing.T)
		run   func(*testing.T, func(*testing.T) signer.Signer)
		kinds []string
	}{
		{"signer.py", needPython, signertest.RunMessages, []string{"p256", "ed25519"}},
		{"signer.sh", func(t *testing.T) { signertest.Require(t, "openssl", "openssl"); signertest.Require(t, "jq", "jq") }, signertest.Run, []string{"p256"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.needs(t)
			path := example(t, test.name)
			env := []string{"PATH=" + os.Getenv("PATH")}
			for _, kind := range test.kinds {
				t.Run(kind, func(t *testing.T) {
					file := keyFile(t, kind)
					test.run(t, func(t *testing.T) signer.Signer { return open(t, program.Config{Path: path, Key: file, Env: env}) })
				})
			}
			signRSA(t, open(t, program.Config{Path: path, Key: keyFile(t, "rsa2048"), Env: env}))
			_, err := program.Open(t.Context(), program.Config{Path: path, Key: "/no/such/key.pem", Env: env})
			if !errors.Is(err, signer.ErrNotFound) || !strings.Contains(err.Error(), "/no/such/key.pem") {
				t.Error(err)
			}
			_, err = program.Open(t.Context(), program.Config{Path: path, Key: path, Env: env})
			if err == nil || !strings.Contains(err.Error(), "the program answers failed: ") {
				t.Error(err)
			}
		})
	}
}

// signRSA makes a signature with each algorithm of an RSA key, which verifies it.
func signRSA(t *testing.T, k *program.Key) {
	t.Helper()
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		for _, opts := range []crypto.SignerOpts{hash, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}} {
			if _, err := k.SignMessage(rand.Reader, []byte("message"), opts); err != nil {
				t.Errorf("%T %v: %v", opts, hash, err)
			}
		}
	}
}

func needPython(t *testing.T) {
	if out, err := exec.Command("/usr/bin/python3", "-c", "import cryptography").CombinedOutput(); err != nil {
		signertest.Skip(t, "cryptography", errors.Join(err, errors.New(string(out))))
	}
}

// The page shows the examples as they are.
func TestExamplesInDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/exec.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"signer.py", "signer.sh"} {
		text, err := os.ReadFile(filepath.Join(examples, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "\n"+string(text)+"```\n") {
			t.Errorf("docs/exec.md does not contain %s", name)
		}
	}
}
