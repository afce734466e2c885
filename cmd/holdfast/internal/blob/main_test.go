package blob_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/blob"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/clitest"
	"github.com/holdfast-dev/holdfast/cmd/holdfast/internal/front"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestMain(m *testing.M) { clitest.Main(m) }

// A folder is the current directory of a test.
type folder struct {
	*testing.T
	stdin io.Reader
}

func newFolder(t *testing.T) *folder {
	t.Chdir(t.TempDir())
	return &folder{T: t, stdin: bytes.NewReader(nil)}
}

func (f *folder) write(name string, data []byte) {
	f.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		f.Fatal(err)
	}
}

func (f *folder) read(name string) []byte {
	f.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	return data
}

// files returns the names of the files.
func (f *folder) files() (names []string) {
	f.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// run runs the program in this process, without a terminal.
func (f *folder) run(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, log bytes.Buffer
	a := front.App{
		Stdin: f.stdin, Stdout: &out, Stderr: &log, Now: time.Now, LookupEnv: os.LookupEnv, Environ: os.Environ,
		OpenTTY: func() (front.TTY, error) { return nil, errors.New("none") },
		Store:   all.New(),
		Commands: []front.Command{
			{Name: "sign-blob", New: blob.SignBlob, DefaultSignals: true},
			{Name: "verify-blob", New: blob.VerifyBlob, DefaultSignals: true},
		},
	}
	code = a.Run(ctx, args)
	return code, out.String(), log.String()
}

// good runs a command that must succeed without a word on standard error.
func (f *folder) good(args ...string) (stdout string) {
	f.Helper()
	code, stdout, stderr := f.run(f.Context(), args...)
	if code != 0 || stderr != "" {
		f.Fatalf("%q: exit code %d, %s", args, code, stderr)
	}
	return stdout
}

// bad runs a command that must fail with an exit code, and with texts in its error.
func (f *folder) bad(code int, args []string, texts ...string) {
	f.Helper()
	got, stdout, stderr := f.run(f.Context(), args...)
	if got != code || stdout != "" {
		f.Errorf("%q: exit code %d, want %d; standard output %q", args, got, code, stdout)
	}
	for _, text := range texts {
		if !strings.Contains(stderr, text) {
			f.Errorf("%q: %q is not in %q", args, text, stderr)
		}
	}
}

// openssl runs an OpenSSL, which must succeed.
func (f *folder) openssl(program string, args ...string) {
	f.Helper()
	if out, err := exec.CommandContext(f.Context(), program, args...).CombinedOutput(); err != nil {
		f.Fatalf("openssl %q: %v\n%s", args, err, out)
	}
}

// releaser changes the certificate of a test to one of a signer.
func releaser(c *x509.Certificate) {
	c.Subject.CommonName, c.Subject.Organization = "Release 1", []string{"Example"}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
}

const subject = "CN=Release 1,O=Example"

// newSigner writes a key and its certificate, with that of an intermediate CA: key.pem,
// cert.pem, ca.pem and the file app.
func newSigner(t *testing.T, kind string) *folder {
	f := newFolder(t)
	ca := signertest.NewCA(t, "root").Intermediate(t, "issuer")
	key := signertest.Key(t, kind)
	f.write("key.pem", signertest.KeyPEM(t, key))
	f.write("cert.pem", append(signertest.CertPEM(ca.Issue(t, key, releaser)), signertest.CertPEM(ca.Cert, ca.Root())...))
	f.write("ca.pem", signertest.CertPEM(ca.Root()))
	f.write("app", []byte("the program\n"))
	return f
}

var signApp = []string{"sign-blob", "--certificate", "cert.pem", "--private-key", "key.pem", "app"}

// with returns args with more before the last one, which is FILE.
func with(args []string, more ...string) []string {
	last := len(args) - 1
	return append(append(args[:last:last], more...), args[last])
}
