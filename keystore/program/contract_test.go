package program_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-dev/holdfast/internal/exectest"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/keystore/program"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestMain(m *testing.M) {
	exectest.Main()
	lie()
	os.Exit(m.Run())
}

// keyFile writes a key of a kind with a certificate and returns the name of the file.
func keyFile(t testing.TB, kind string) string {
	t.Helper()
	ca := signertest.NewCA(t, "root").Intermediate(t, "intermediate")
	key := signertest.Key(t, kind)
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, exectest.PEM(t, key, ca.Cert, ca.Issue(t, key, nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// quickExit is the environment of test programs: those with the race detector would
// wait a second at their end.
var quickExit = []string{"GORACE=atexit_sleep_ms=0"}

func open(t testing.TB, cfg program.Config) *program.Key {
	t.Helper()
	cfg.Env = append(cfg.Env, quickExit...)
	k, err := program.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	return k
}

func TestContract(t *testing.T) {
	path := exectest.Install(t)
	for kind, messages := range map[string]bool{"p256": true, "p384": false, "rsa2048": true, "ed25519": true} {
		t.Run(kind, func(t *testing.T) {
			file := keyFile(t, kind)
			t.Run("digest", func(t *testing.T) {
				signertest.Run(t, func(t *testing.T) signer.Signer { return open(t, program.Config{Path: path, Key: file}) })
			})
			if messages {
				t.Run("message", func(t *testing.T) {
					signertest.RunMessages(t, func(t *testing.T) signer.Signer { return open(t, program.Config{Path: path, Key: "message:" + file}) })
				})
			}
		})
	}
}

// A program that lists algorithms limits the schemes of the key.
func TestAlgorithms(t *testing.T) {
	path, file := exectest.Install(t), keyFile(t, "rsa2048")
	signertest.Run(t, func(t *testing.T) signer.Signer {
		return open(t, program.Config{Path: path, Key: "rsa_pkcs1_sha256,rsa_pkcs1_sha512,rsa_pkcs1_md5@" + file})
	})
	k := open(t, program.Config{Path: path, Key: "rsa_pkcs1_sha256@" + file})
	if got := k.SignatureSchemes(); !slices.Equal(got, []tls.SignatureScheme{tls.PKCS1WithSHA256}) {
		t.Errorf("%v", got)
	}
}

// Ref opens the key again, from another folder, too.
func TestRef(t *testing.T) {
	path, name := exectest.Install(t), keyFile(t, "p256")
	store := keystore.New(program.Backend{}, file.Backend{})
	opts := keystore.Options{Environ: func() []string { return quickExit }}
	t.Chdir(filepath.Dir(path))
	ref, err := keystore.ParseRef("exec:key=" + name + ";program=./" + filepath.Base(path) + ";pin-source=env:PIN")
	if err != nil {
		t.Fatal(err)
	}
	first, err := store.Open(t.Context(), ref, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	t.Chdir(t.TempDir())
	again, err := keystore.ParseRef(first.(keystore.Key).Ref().String())
	if err != nil {
		t.Fatal(err)
	}
	second, err := store.Open(t.Context(), again, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if second.(keystore.Key).Ref() != again || !signer.SamePublicKey(first.Public(), second.Public()) || store.Uses(again).Variables[0] != "PIN" {
		t.Errorf("%s opens %s", again, second.(keystore.Key).Ref())
	}
	certs, err := store.Certificates(t.Context(), again, opts)
	if err != nil || len(certs) != 2 {
		t.Errorf("%d certificates, %v", len(certs), err)
	}
	if _, err := store.List(t.Context(), again, opts); !errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) != (program.Backend{}).Advice() {
		t.Errorf("%v: %s", err, signer.Hint(err))
	}
}

func TestRebase(t *testing.T) {
	store := keystore.New(program.Backend{})
	for text, want := range map[string]string{
		"exec:program=./a;key=./b":     "exec:program=/etc/a;key=./b",
		"exec:key=k;program=bin/a%3Bb": "exec:key=k;program=/etc/bin/a%3Bb",
		"exec:program=/usr/a":          "exec:program=/usr/a",
		"exec:program=a;key=/b":        "exec:program=a;key=/b",
		"exec:program=./a;x=y":         "exec:program=./a;x=y",
		"exec:./a":                     "exec:./a",
	} {
		ref, err := keystore.ParseRef(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := store.Rebase(ref, filepath.FromSlash("/etc")); got.Scheme+":"+got.Rest != filepath.FromSlash(want) && filepath.Separator == '/' {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Options that are nil pointers, and hashes that are not there, are errors.
func TestRefusedOptions(t *testing.T) {
	k := open(t, program.Config{Path: exectest.Install(t), Key: keyFile(t, "p256")})
	for _, opts := range []crypto.SignerOpts{nil, (*rsa.PSSOptions)(nil), (*ed25519.Options)(nil), crypto.MD4, crypto.Hash(0), crypto.Hash(99)} {
		if _, err := k.SignMessage(rand.Reader, make([]byte, 32), opts); err == nil {
			t.Errorf("%T %v: no error", opts, opts)
		}
	}
	long := open(t, program.Config{Path: exectest.Install(t), Key: "message:" + keyFile(t, "p256")})
	for n, want := range map[int]error{512 << 10: nil, 512<<10 + 1: errors.ErrUnsupported} {
		if _, err := long.SignMessage(rand.Reader, make([]byte, n), crypto.SHA256); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// An empty message is in the request, and not left out.
func TestEmptyMessage(t *testing.T) {
	k := open(t, program.Config{Path: exectest.Install(t), Key: keyFile(t, "ed25519")})
	sig, err := k.Sign(rand.Reader, nil, crypto.Hash(0))
	if err != nil || !ed25519.Verify(k.Public().(ed25519.PublicKey), nil, sig) {
		t.Error(err)
	}
}
