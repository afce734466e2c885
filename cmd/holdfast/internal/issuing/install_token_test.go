//go:build linux && cgo

package issuing_test

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A tokenScene is a killScene with a key on a SoftHSM token.
type tokenScene struct {
	*killScene
	ca     *signertest.CA
	hsm    *pkcs11test.SoftHSM
	uri    string
	public []byte // PEM
}

func newTokenScene(t *testing.T) *tokenScene {
	signertest.Require(t, "softhsm", "softhsm2-util")
	s := &tokenScene{killScene: &killScene{T: t, dir: t.TempDir()}, ca: signertest.NewCA(t, "root").Intermediate(t, "intermediate"), hsm: pkcs11test.New(t)}
	s.uri = strings.Replace(s.hsm.Token(t), "?", ";object=app?", 1)
	s.write("ca.pem", signertest.CertPEM(s.ca.Root()))
	s.write("pin", []byte(pkcs11test.PIN))
	s.public = s.holdfast("generate", "--private-key", s.uri, "--pin-source", "file:pin")
	return s
}

func (s *tokenScene) write(name string, data []byte) {
	s.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
		s.Fatal(err)
	}
}

// issue writes a certificate for the key that was issued some time ago, with its
// issuer.
func (s *tokenScene) issue(name string, age time.Duration) {
	s.Helper()
	end := time.Now().Add(time.Hour)
	s.write(name, signertest.CertPEM(s.ca.Issue(s, publicKeyOf(s.T, s.public), func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = end.Add(-time.Hour-age), end
	}), s.ca.Cert))
}

func (s *tokenScene) with(args ...string) []string {
	return append(args, "--private-key", s.uri, "--pin-source", "file:pin")
}

// A certificate is installed on a token, renewed, and replaced.
func TestInstallOnToken(t *testing.T) {
	s := newTokenScene(t)
	s.issue("old.pem", time.Hour)
	s.issue("new.pem", time.Minute)
	ref := strings.TrimSpace(string(s.holdfast(s.with("install", "--certificate", "old.pem")...)))
	if !strings.HasPrefix(ref, "pkcs11:token=") || !strings.Contains(ref, "type=cert") {
		t.Errorf("the reference is %s", ref)
	}
	s.holdfast(s.with("verify", "--certificate", ref, "--trust-anchor", "ca.pem")...)
	// A PIN source in the reference of the key is also in that of the certificate.
	ref = strings.TrimSpace(string(s.holdfast("install", "--certificate", "old.pem", "--private-key", s.uri+"&pin-source=file:pin")))
	s.holdfast("verify", "--certificate", ref, "--trust-anchor", "ca.pem")
	out := s.holdfast(s.with("install", "--certificate", "new.pem", "--json")...)
	if !bytes.Contains(out, []byte(`"used":true,"kept":["`)) {
		t.Errorf("%s", out)
	}
	out = s.holdfast(s.with("install", "--certificate", "old.pem", "--json")...)
	if !bytes.Contains(out, []byte(`"used":false,"kept":["`)) { // the other one was issued later
		t.Errorf("%s", out)
	}
	out = s.holdfast(s.with("install", "--certificate", "old.pem", "--replace", "--json")...)
	if !bytes.Contains(out, []byte(`"used":true,"removed":["`)) {
		t.Errorf("%s", out)
	}
	out = s.holdfast("list", "--in", s.uri, "--pin-source", "file:pin", "--json")
	if n := bytes.Count(out, []byte(`"kind":"certificate"`)); n != 1 {
		t.Errorf("%d certificates of the key: %s", n, out)
	}
}

// A token that is full or read-only keeps the old certificate, and the hint says
// where the new one can go.
func TestInstallOnFullOrReadOnlyToken(t *testing.T) {
	for _, test := range []struct {
		name   string
		spoil  func(t *testing.T, dir string)
		stderr string
	}{
		{"full", func(t *testing.T, dir string) {
			f, err := os.Create(filepath.Join(dir, "filler"))
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = f.Write(make([]byte, 512))
			}
			if f.Close(); !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
		}, "--to FILE"},
		{"read-only", func(t *testing.T, dir string) {
			if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
		}, "--to FILE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
				signertest.Skip(t, "tmpfs", err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			})
			s := newTokenScene(t)
			s.issue("old.pem", time.Hour)
			s.issue("new.pem", time.Minute)
			s.holdfast(s.with("install", "--certificate", "old.pem")...)
			s.move(dir)
			s.verify = []string{"verify", "--certificate", s.uri, "--pin-source", "file:pin"}
			old := s.serial()
			test.spoil(t, dir)
			var stderr bytes.Buffer
			cmd := s.command("holdfast", s.with("install", "--certificate", "new.pem", "--replace")...)
			cmd.Stderr = &stderr
			if err := cmd.Run(); !errors.As(err, new(*exec.ExitError)) || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("error %v\n%s", err, &stderr)
			}
			t.Log(stderr.String())
			if now := s.serial(); now != old {
				t.Errorf("the certificate is %s, not %s", now, old)
			}
			s.holdfast(s.with("install", "--certificate", "new.pem", "--to", "app.crt")...)
		})
	}
}

// What needs no PIN is checked before a try is used.
func TestInstallBeforePIN(t *testing.T) {
	s := newTokenScene(t)
	s.issue("cert.pem", time.Minute)
	s.write("expired.pem", signertest.CertPEM(s.ca.Issue(s, publicKeyOf(s.T, s.public), func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}), s.ca.Cert))
	s.write("other.pem", signertest.CertPEM(s.ca.Issue(s, signertest.NewKey(t, "p256"), nil), s.ca.Cert))
	s.write("wrong", []byte("000000"))
	for _, args := range [][]string{
		{"--certificate", "expired.pem"},
		{"--certificate", "expired.pem", "--to", "app.crt"},
		{"--certificate", "other.pem"},
		{"--certificate", "other.pem", "--to", "app.crt"},
		{"--certificate", "cert.pem", "--to", "no/app.crt"},
		{"--certificate", "cert.pem", "--to", "ca.pem"},
		{"--certificate", "cert.pem", "--to", "pin"},
	} {
		var stderr bytes.Buffer
		cmd := s.command("holdfast", append(args, "--private-key", s.uri, "--pin-source", "file:wrong")...)
		cmd.Args = slices.Insert(cmd.Args, 1, "install")
		cmd.Stderr = &stderr
		if err := cmd.Run(); !errors.As(err, new(*exec.ExitError)) || strings.Contains(stderr.String(), "PIN") {
			t.Errorf("%q: error %v\n%s", args, err, &stderr)
		}
	}
	s.holdfast(s.with("install", "--certificate", "cert.pem")...)
}

// move copies the tokens to another folder.
func (s *tokenScene) move(dir string) {
	s.Helper()
	if err := os.CopyFS(dir, os.DirFS(s.hsm.Dir)); err != nil {
		s.Fatal(err)
	}
	conf := filepath.Join(dir, "softhsm2.conf")
	text, err := os.ReadFile(conf)
	if err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(conf, bytes.ReplaceAll(text, []byte(s.hsm.Dir), []byte(dir)), 0o600); err != nil {
		s.Fatal(err)
	}
	s.env = []string{"SOFTHSM2_CONF=" + conf}
}

// A publicKey is a key to certify, which is elsewhere.
type publicKey struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (k publicKey) Public() crypto.PublicKey { return k.pub }

// publicKeyOf returns the public key in PEM, for a CA.
func publicKeyOf(t *testing.T, data []byte) crypto.Signer {
	t.Helper()
	block, _ := pem.Decode(data)
	if block == nil {
		t.Fatalf("no PEM block in %s", data)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return publicKey{pub: pub}
}
