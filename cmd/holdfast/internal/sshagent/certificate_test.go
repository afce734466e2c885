//go:build unix

package sshagent

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestCertificates(t *testing.T) {
	key, other, ca := signertest.Key(t, "p256"), signertest.Key(t, "p384"), signertest.Key(t, "ed25519")
	now := time.Now()
	certify := func(change func(*ssh.Certificate)) string {
		pub, err := ssh.NewPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		c := &ssh.Certificate{Key: pub, CertType: ssh.UserCert, KeyId: "app", ValidBefore: ssh.CertTimeInfinity}
		if change != nil {
			change(c)
		}
		signer, err := ssh.NewSignerFromSigner(ca)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SignCert(rand.Reader, signer); err != nil {
			t.Fatal(err)
		}
		return string(ssh.MarshalAuthorizedKey(c))
	}
	good := certify(nil)
	plain, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, text, want, warning string }{
		{"good", good, "", ""},
		{"expired", certify(func(c *ssh.Certificate) { c.ValidBefore = uint64(now.Unix() - 1) }), "", "expired"},
		{"of a host", certify(func(c *ssh.Certificate) { c.CertType = ssh.HostCert }), "for a host", ""},
		{"of another key", certify(func(c *ssh.Certificate) {
			var err error
			if c.Key, err = ssh.NewPublicKey(other.Public()); err != nil {
				t.Fatal(err)
			}
		}), "none of those of --private-key", ""},
		{"a key", string(ssh.MarshalAuthorizedKey(plain)), "not an OpenSSH certificate", ""},
		{"empty", "", "not a public key", ""},
		{"text", "certificate", "not a public key", ""},
		{"two", good + good, "more than one", ""},
		{"cut off", good[:400], "not a public key", ""},
		{"too large", good + strings.Repeat("#\n", maxCertificate), "large", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "id-cert.pub")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			a := newAgent(t, &signertest.Fake{Key: key})
			var log bytes.Buffer
			a.log = slog.New(slog.NewTextHandler(&log, nil))
			err := a.addCertificate(path, now)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if !strings.Contains(log.String(), c.warning) || c.warning == "" && log.Len() > 0 {
				t.Errorf("log %q", &log)
			}
			if n := len(a.list()); (n == 2) != (err == nil) {
				t.Errorf("%d identities", n)
			}
		})
	}
}

func TestComment(t *testing.T) {
	for ref, want := range map[string]string{
		"key.pem": "key.pem",
		"pkcs11:token=prod;object=app?pin-source=/x":    "pkcs11:token=prod;object=app",
		"tpm:path=key.pem;pin-source=/run/pin;device=x": "tpm:path=key.pem;device=x",
	} {
		if got := comment(ref); got != want {
			t.Errorf("%s: %q", ref, got)
		}
	}
}

// TestRefusedKeys: a key twice, and a key that SSH has no type for.
func TestRefusedKeys(t *testing.T) {
	a := newAgent(t, fake(t, "p256"))
	if err := a.add(a.list()[0].key, ""); err == nil || !strings.Contains(err.Error(), "the same key") {
		t.Error(err)
	}
	if err := a.add(&key{name: "key", public: "none"}, ""); err == nil || !strings.Contains(err.Error(), "SSH knows no keys") {
		t.Error(err)
	}
}
