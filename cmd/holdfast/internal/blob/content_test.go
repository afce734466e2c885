package blob_test

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// longest is what a key signs that signs the content itself, in bytes.
const longest = 64 << 20

// sparse writes a file of zeros.
func (f *folder) sparse(name string, size int64) {
	f.Helper()
	f.write(name, nil)
	if err := os.Truncate(name, size); err != nil {
		f.Fatal(err)
	}
}

// Both commands need little memory for a large file.
func TestLargeFile(t *testing.T) {
	f := newSigner(t, "p256")
	const size = 256 << 20
	f.sparse("app", size)
	for _, args := range [][]string{signApp, {"verify-blob", "--signer", "cert.pem", "app"}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f.good(args...)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > size/8 {
			t.Errorf("%s allocated %d MiB", args[0], n>>20)
		}
	}
}

// A key that signs the content itself signs no more than longest, and no PIN is asked
// for when the certificate shows the type of the key.
func TestLongMessage(t *testing.T) {
	f := newSigner(t, "ed25519")
	f.sparse("app", longest+1)
	hint := "hint: sign a list of hashes instead: sha256sum app > SHA256SUMS"
	f.bad(front.ExitOther, signApp, "app: is longer than 64 MiB", hint)
	f.bad(front.ExitOther, []string{"sign-blob", "--certificate", "cert.pem", "--private-key", "missing.pem", "app"}, "app: is longer than 64 MiB", hint)
	f.bad(front.ExitNotFound, []string{"sign-blob", "--private-key", "missing.pem", "app"}, "missing.pem")
	f.bad(front.ExitOther, []string{"sign-blob", "--private-key", "key.pem", "app"}, "app: is longer than 64 MiB", hint)
	f.write("app.sig", make([]byte, 64))
	f.bad(front.ExitOther, []string{"verify-blob", "--signer", "cert.pem", "app"}, "app: is longer than 64 MiB")
	f.stdin = io.LimitReader(zeros{}, longest+1)
	f.bad(front.ExitOther, []string{"sign-blob", "--private-key", "key.pem", "--signature", "-", "-"}, "standard input: is longer than 64 MiB", "sha256sum FILE > SHA256SUMS")

	f = newSigner(t, "ed25519")
	f.sparse("app", longest)
	f.good(signApp...)
	f.good("verify-blob", "--signer", "cert.pem", "app")

	// An RSA key signs more, also if the first certificate of its file is another one's.
	f = newSigner(t, "rsa2048")
	ca := signertest.NewCA(t, "other")
	f.write("cert.pem", append(signertest.CertPEM(ca.Issue(t, signertest.Key(t, "ed25519"), nil)), f.read("cert.pem")...))
	f.sparse("app", longest+1)
	f.good(signApp...)
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestStandardInput(t *testing.T) {
	f := newSigner(t, "p256")
	text := "the program\n"
	again := func() { f.stdin = strings.NewReader(text) }
	flags := signApp[:len(signApp)-1]
	again()
	f.bad(front.ExitUsage, append(slices.Clone(flags), "-"), "--signature is not given", "hint: ")
	again()
	f.bad(front.ExitUsage, []string{"sign-blob", "--private-key", "-", "--signature", "s", "-"}, "standard input cannot be both")
	again()
	f.good(append(slices.Clone(flags), "--signature", "app.sig", "-")...)
	f.good("verify-blob", "--trust-anchor", "ca.pem", "--subject", subject, "app")
	again()
	if got := f.good("verify-blob", "--signer", "cert.pem", "--signature", "app.sig", "-"); !strings.HasPrefix(got, "standard input: signed by CN=Release 1,O=Example (") {
		t.Errorf("%q", got)
	}
	f.stdin = strings.NewReader(text + "x")
	f.bad(front.ExitOther, []string{"verify-blob", "--signer", "cert.pem", "--signature", "app.sig", "-"}, "standard input: the signature does not verify")
	f.stdin = io.MultiReader(strings.NewReader(text), failing{})
	f.bad(front.ExitOther, []string{"verify-blob", "--signer", "cert.pem", "--signature", "app.sig", "-"}, "standard input: broken")
}

// A file that another program writes in the meantime is not replaced, and the
// certificate does not stay without its signature.
func TestFileAppears(t *testing.T) {
	for _, name := range []string{"new.sig", "new.sig.pem"} {
		f := newSigner(t, "p256")
		f.stdin = io.TeeReader(strings.NewReader("the program\n"), writerFunc(func() { f.write(name, []byte("theirs")) }))
		f.bad(front.ExitOther, append(slices.Clone(signApp[:len(signApp)-1]), "--signature", "new.sig", "-"), name+": file already exists, and is not replaced")
		if got := string(f.read(name)); got != "theirs" {
			t.Errorf("%s: %q", name, got)
		}
		if got, want := f.files(), []string{"app", "ca.pem", "cert.pem", "key.pem", name}; !slices.Equal(got, want) {
			t.Errorf("files %q", got)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken") }

// An interrupt ends a command that waits for its content.
func TestInterruptedRead(t *testing.T) {
	f := newSigner(t, "p256")
	f.good(signApp...)
	for _, args := range [][]string{
		append(signApp[:len(signApp)-1:len(signApp)-1], "--signature", "-", "-"),
		{"verify-blob", "--signer", "cert.pem", "--signature", "app.sig", "-"},
	} {
		never, w := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		f.stdin = io.TeeReader(never, writerFunc(cancel)) // the first bytes cancel
		go func() { _, _ = w.Write([]byte("a part")) }()
		code, stdout, stderr := f.run(ctx, args...)
		if code != front.ExitOther || stdout != "" || !strings.Contains(stderr, "standard input: context canceled\nhint: interrupted") {
			t.Errorf("%q: exit code %d, %q, %s", args, code, stdout, stderr)
		}
		_ = w.Close()
	}
}

type writerFunc func()

func (w writerFunc) Write(p []byte) (int, error) { w(); return len(p), nil }

func TestMissingFile(t *testing.T) {
	f := newSigner(t, "p256")
	// No key is opened, which would fail with another exit code.
	f.bad(front.ExitNotFound, []string{"sign-blob", "--private-key", "pkcs11:token=none", "missing"}, "missing: ")
	f.bad(front.ExitOther, []string{"sign-blob", "--private-key", "pkcs11:token=none", "."}, ".: is a directory")
	f.bad(front.ExitNotFound, []string{"verify-blob", "--signer", "cert.pem", "missing"}, "missing: ")
	f.bad(front.ExitNotFound, []string{"verify-blob", "--signer", "cert.pem", "app"}, "app.sig: ")
	f.bad(front.ExitUsage, []string{"sign-blob", "app"}, "neither --certificate nor --private-key is given")
	f.bad(front.ExitUsage, []string{"sign-blob", "--private-key", "key.pem"}, "FILE is not given")
	f.bad(front.ExitUsage, []string{"sign-blob", "--private-key", "key.pem", "app", "cert.pem"}, "2 arguments")
	f.bad(front.ExitUsage, []string{"sign-blob", "--private-key", "key.pem", ""}, "FILE is an empty text")
}
