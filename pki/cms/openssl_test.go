package cms

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// OpenSSL verifies our messages, and we verify its messages.
func TestOpenSSL(t *testing.T) {
	openssl := signertest.Require(t, "openssl", "openssl")
	for _, c := range []struct {
		name, kind string
		options    []string // of openssl cms -sign
		refused    string   // "": accepted
	}{
		{name: "rsa2048", kind: "rsa2048"},
		{name: "rsa3072", kind: "rsa3072", options: []string{"-md", "sha512"}},
		{name: "PSS", kind: "rsa2048", options: []string{"-keyopt", "rsa_padding_mode:pss"}},
		{name: "PSS with a short salt", kind: "rsa2048", options: []string{"-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:-1", "-md", "sha384"}},
		{name: "p256", kind: "p256"},
		{name: "p384", kind: "p384"},
		{name: "p384 with SHA-384", kind: "p384", options: []string{"-md", "sha384"}},
		{name: "p521", kind: "p521", options: []string{"-md", "sha512"}},
		{name: "PEM", kind: "p256", options: []string{"-outform", "PEM"}},
		{name: "without S/MIME", kind: "p256", options: []string{"-nosmimecap"}},
		{name: "SHA-1", kind: "rsa2048", options: []string{"-md", "sha1"}, refused: "is not SHA-256"},
		{name: "without attributes", kind: "p256", options: []string{"-noattr"}, refused: "signed attributes"},
		{name: "without certificates", kind: "p256", options: []string{"-nocerts"}, refused: "lacks the certificate"},
		{name: "key identifier", kind: "p256", options: []string{"-keyid"}, refused: "one kind of signer name"},
		{name: "indefinite length", kind: "p256", options: []string{"-stream"}, refused: "damaged, or is not SignedData in DER"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			key := newSigner(t, signertest.Key(t, c.kind))
			write := func(name string, data []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			run := func(args ...string) string {
				t.Helper()
				out, err := exec.Command(openssl, args...).CombinedOutput()
				if err != nil {
					t.Fatalf("openssl %q: %v\n%s", args, err, out)
				}
				return string(out)
			}
			issuers := write("issuers.pem", signertest.CertPEM(key.Chain()[1:]...))
			ours := write("ours.der", message(t, key))
			run("cms", "-verify", "-inform", "DER", "-in", ours, "-noverify", "-out", filepath.Join(dir, "content"))
			if got, err := os.ReadFile(filepath.Join(dir, "content")); err != nil || string(got) != content {
				t.Errorf("OpenSSL reads %q, %v", got, err)
			}
			if shown := run("cms", "-cmsout", "-print", "-inform", "DER", "-in", ours); strings.Count(shown, "d.certificate:") != len(key.Chain()) {
				t.Error(shown)
			}

			theirs := filepath.Join(dir, "theirs")
			args := []string{"cms", "-sign", "-binary", "-nodetach", "-in", write("content", []byte(content)), "-outform", "DER", "-out", theirs,
				"-signer", write("cert.pem", signertest.CertPEM(key.Chain()[0])), "-inkey", write("key.pem", signertest.KeyPEM(t, key.Key)), "-certfile", issuers}
			run(append(args, c.options...)...)
			data, err := os.ReadFile(theirs)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Parse(data)
			switch {
			case c.refused != "":
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("%v; want %q", err, c.refused)
				}
			case err != nil:
				t.Error(err)
			case string(m.Content) != content || !m.Signer.Equal(key.Chain()[0]) || time.Since(m.Time) > time.Hour:
				t.Errorf("%q by %v at %v", m.Content, m.Signer.Subject, m.Time)
			}
		})
	}
	t.Run("detached", func(t *testing.T) {
		dir := t.TempDir()
		key := newSigner(t, signertest.Key(t, "p256"))
		for name, data := range map[string][]byte{"content": []byte(content), "cert.pem": signertest.CertPEM(key.Chain()[0]), "key.pem": signertest.KeyPEM(t, key.Key)} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(openssl, "cms", "-sign", "-binary", "-in", "content", "-outform", "DER", "-signer", "cert.pem", "-inkey", "key.pem")
		cmd.Dir = dir
		data, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(data); err == nil || !strings.Contains(err.Error(), "does not include the content") {
			t.Error(err)
		}
	})
}
