//go:build linux && cgo

package renewing_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// rekeyed are keys of all kinds that a new key can replace.
var rekeyed = []struct {
	name        string
	certificate string // "": where the key is
	files       []string
	key         func(t *testing.T, dir string) []string // the flags for the key
}{
	{"a file", "cert.pem", []string{"cert.pem", "key.pem"}, func(*testing.T, string) []string {
		return []string{"--private-key", "key.pem"}
	}},
	{"a file with the certificate", "", []string{"key.pem"}, func(*testing.T, string) []string {
		return []string{"--private-key", "key.pem"}
	}},
	{"a TPM", "cert.pem", []string{"cert.pem", "key.pem"}, func(t *testing.T, _ string) []string {
		signertest.Require(t, "swtpm", "swtpm")
		return []string{"--private-key", "tpm:path=key.pem;pcrs=sha256:7;device=" + tpmtest.Start(t).Path, "--pin-source", "file:pin"}
	}},
	{"a token with the certificate", "", nil, func(t *testing.T, _ string) []string {
		return []string{"--private-key", tokenKey(t), "--pin-source", "file:pin"}
	}},
	{"a token and a file", "cert.pem", []string{"cert.pem"}, func(t *testing.T, _ string) []string {
		return []string{"--private-key", tokenKey(t), "--pin-source", "file:pin"}
	}},
}

// besideOthers runs a test side by side with others, unless SoftHSM is in it: a login
// hides the token from other processes for a moment.
func besideOthers(t *testing.T, name string) {
	if !strings.HasPrefix(name, "a token") {
		t.Parallel()
	}
}

func tokenKey(t *testing.T) string {
	signertest.Require(t, "softhsm", "softhsm2-util")
	return strings.Replace(pkcs11test.New(t).Token(t), "?", ";object=app?", 1)
}

// newMachine makes a CA, a key and its first certificate in dir, and returns the
// flags of the identity.
func newMachine(t *testing.T, dir, certificate string, key []string) []string {
	t.Helper()
	run(t, dir, "ca", "init", "--private-key", "ca-key.pem", "--generate", "p256", "--plaintext-key", "--subject", "CN=CA")
	if err := os.WriteFile(filepath.Join(dir, "pin"), []byte(pkcs11test.PIN), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, append([]string{"generate"}, key...)...)
	key = slices.Clone(key)
	key[1] = strings.Replace(key[1], ";pcrs=sha256:7", "", 1)
	run(t, dir, append([]string{"csr", "--subject", "CN=app", "--out", "app.csr"}, key...)...)
	run(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--lifetime", "99d", "--out", "first.pem")
	switch {
	case certificate != "":
		key = append(key, "--certificate", certificate)
		data, err := os.ReadFile(filepath.Join(dir, "first.pem"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, certificate), data, 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	case key[1] == "key.pem":
		first, err := os.ReadFile(filepath.Join(dir, "first.pem"))
		if err != nil {
			t.Fatal(err)
		}
		old, err := os.ReadFile(filepath.Join(dir, "key.pem"))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "key.pem"), slices.Concat(old, first), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	default:
		run(t, dir, append([]string{"install", "--certificate", "first.pem"}, key...)...)
	}
	return key
}

// publicKey returns the public key of the certificate in use. verify proves the pair.
func publicKey(t *testing.T, dir string, id []string) string {
	t.Helper()
	run(t, dir, append([]string{"verify", "--trust-anchor", "ca/ca.pem"}, id...)...)
	var status struct{ Serial string }
	if err := json.Unmarshal([]byte(run(t, dir, append([]string{"renew", "--status", "--json", "--state-file", "state"}, id...)...)), &status); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "ca", "certificates", status.Serial+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(decode(t, string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return string(c.RawSubjectPublicKeyInfo)
}

// rekey returns the command that renews with a new key. Each certificate lives longer
// than the one before, because several of one second cannot be told apart otherwise.
func rekey(id []string, n int) []string {
	return slices.Concat([]string{"renew", "--rekey", "--way", "command", "--signed", "--state-file", "state"}, id,
		[]string{"--", "holdfast", "ca", "issue", "--renew", "-", "--lifetime", fmt.Sprintf("%dd", 100+n)})
}

// A renewal with a new key leaves a pair that works, in all kinds of devices, and the
// reference in use names the new key. The CA learns of the new key from the old one.
func TestRekey(t *testing.T) {
	for _, test := range rekeyed {
		t.Run(test.name, func(t *testing.T) {
			besideOthers(t, test.name)
			dir := t.TempDir()
			id := newMachine(t, dir, test.certificate, test.key(t, dir))
			seen := []string{publicKey(t, dir, id)}
			modes := modesOf(t, dir, test.files)
			for n := range 2 {
				run(t, dir, rekey(id, n)...)
				now := publicKey(t, dir, id)
				if slices.Contains(seen, now) {
					t.Error("the key is an old one")
				}
				seen = append(seen, now)
			}
			if after := modesOf(t, dir, test.files); !slices.Equal(modes, after) {
				t.Errorf("modes %v, then %v", modes, after)
			}
			if left, err := filepath.Glob(filepath.Join(dir, "*.next")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			// The old key is superseded: only the new one vouches for the machine.
			if test.name == "a token and a file" {
				run(t, dir, "renew", "--way", "command", "--signed", "--state-file", "other", id[0], id[1], id[2], id[3], "--certificate", "cert.pem", "--", "holdfast", "ca", "issue", "--renew", "-")
				stderr := fails(t, dir, "renew", "--way", "command", "--signed", "--state-file", "first", id[0], id[1], id[2], id[3], "--certificate", "first.pem", "--", "holdfast", "ca", "issue", "--renew", "-")
				if !strings.Contains(stderr, "superseded") {
					t.Error(stderr)
				}
			}
		})
	}
}

func modesOf(t *testing.T, dir string, files []string) (modes []os.FileMode) {
	t.Helper()
	for _, f := range files {
		info, err := os.Stat(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		modes = append(modes, info.Mode())
	}
	return modes
}

// Renewals with a new key that are killed at any time leave a pair that works, and
// the next one continues with the same new key.
func TestKilledRekeys(t *testing.T) {
	t.Parallel()
	for _, test := range rekeyed {
		if strings.HasPrefix(test.name, "a token") { // SoftHSM does not survive that
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			id := newMachine(t, dir, test.certificate, test.key(t, dir))
			p := &killedPair{T: t, dir: dir, pair: id, state: "state", files: test.files, renew: func(n int) []string { return rekey(id, n) }}
			p.kill(8)
			before := publicKey(t, dir, id)
			run(t, dir, rekey(id, p.n)...)
			if publicKey(t, dir, id) == before {
				t.Error("the last renewal did not replace the key")
			}
		})
	}
}

// A renewal with a new key that is killed when the CA has issued the certificate, and one
// whose settings do not ask for a new key any more, continue with the key that was begun.
func TestRekeyIsFinished(t *testing.T) {
	for _, test := range rekeyed {
		t.Run(test.name, func(t *testing.T) {
			besideOthers(t, test.name)
			dir := t.TempDir()
			id := newMachine(t, dir, test.certificate, test.key(t, dir))
			before := publicKey(t, dir, id)
			script := "#!/bin/sh\nholdfast ca issue --renew - --lifetime 120d\n[ -e killed ] || { : > killed; kill -KILL $PPID; }\n"
			if err := clitest.WriteProgram(filepath.Join(dir, "get"), []byte(script)); err != nil {
				t.Fatal(err)
			}
			renew := slices.Concat([]string{"renew", "--way", "command", "--signed", "--state-file", "state"}, id)
			cmd := clitest.PlainCommand(t, append(renew, "--rekey", "--", "./get")...)
			cmd.Dir = dir
			if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != -1 {
				t.Fatalf("it was not killed: %v", err)
			}
			if publicKey(t, dir, id) != before {
				t.Error("the key has changed")
			}
			run(t, dir, append(renew, "--", "./get")...)
			if publicKey(t, dir, id) == before {
				t.Error("the key is the old one")
			}
			if n := strings.Count(run(t, dir, "ca", "list", "--json"), `"serial"`); n != 2 {
				t.Errorf("%d certificates", n)
			}
		})
	}
}
