// Package guesttest has what the tests of the examples share: keys in SoftHSM and in a
// TPM emulator, and certificates for them.
package guesttest

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/pkcs11/pkcs11test"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
	"github.com/holdfast-dev/holdfast/tpm/tpmtest"
)

// A Key is a new key in a device.
type Key struct {
	Ref    string // opens it, without a prompt
	Public crypto.PublicKey
	Type   keystore.KeyType
}

// RSA reports whether k is an RSA key.
func (k Key) RSA() bool { return k.Type == keystore.RSA2048 }

// devices start an empty device and return references of new keys in it by their names.
var devices = []struct {
	name  string
	start func(t *testing.T) func(name string) string
}{
	{"softhsm", func(t *testing.T) func(string) string {
		signertest.Require(t, "softhsm", "softhsm2-util")
		uri, err := pkcs11.ParseURI(pkcs11test.New(t).Token(t))
		if err != nil {
			t.Fatal(err)
		}
		pin := filepath.Join(t.TempDir(), "pin")
		if err := os.WriteFile(pin, []byte(pkcs11test.PIN), 0o600); err != nil {
			t.Fatal(err)
		}
		uri.PINSource = pin
		return func(name string) string {
			uri.Object = name
			return uri.String()
		}
	}},
	{"tpm", func(t *testing.T) func(string) string {
		signertest.Require(t, "swtpm", "swtpm")
		emulator, dir := tpmtest.Start(t), t.TempDir()
		return func(name string) string {
			return "tpm:" + keystore.FormatAttribute("path", filepath.Join(dir, name+".pem")) + ";" + keystore.FormatAttribute("device", emulator.Path)
		}
	}},
}

// Each calls test with new RSA and P-256 keys in SoftHSM and in a TPM.
func Each(t *testing.T, test func(t *testing.T, key Key)) {
	t.Helper()
	for _, device := range devices {
		t.Run(device.name, func(t *testing.T) {
			reference := device.start(t)
			for _, kind := range []keystore.KeyType{keystore.RSA2048, keystore.P256} {
				t.Run(string(kind), func(t *testing.T) { test(t, generate(t, reference(string(kind)), kind)) })
			}
		})
	}
}

func generate(t *testing.T, name string, kind keystore.KeyType) Key {
	t.Helper()
	ref, err := keystore.ParseRef(name)
	if err != nil {
		t.Fatal(err)
	}
	key, err := all.New().Generate(t.Context(), ref, keystore.KeySpec{Type: kind}, keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	return Key{key.Ref().String(), key.Public(), kind}
}

// Certify returns a file with a certificate of ca for the key; mutate, unless nil, changes
// it.
func (k Key) Certify(t *testing.T, ca *signertest.CA, mutate func(*x509.Certificate)) string {
	t.Helper()
	return File(t, "cert.pem", signertest.CertPEM(append([]*x509.Certificate{ca.Issue(t, public{pub: k.Public}, mutate)}, ca.Chain()...)...))
}

// PublicFile returns a file with the public key, for OpenSSL.
func (k Key) PublicFile(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		t.Fatal(err)
	}
	return File(t, "public.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// public is a key that cannot sign.
type public struct {
	crypto.Signer
	pub crypto.PublicKey
}

func (p public) Public() crypto.PublicKey { return p.pub }

// File returns the path of a new file with data.
func File(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// OpenSSL runs openssl, which must succeed, and returns its output.
func OpenSSL(t *testing.T, args ...string) string {
	t.Helper()
	return Command(t, signertest.Require(t, "openssl", "openssl"), args...)
}

// Command runs a program, which must succeed, and returns its output.
func Command(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
	return string(out)
}

// ForLocalhost makes a certificate for a server on this machine and for a client. It is a
// mutate for Certify.
func ForLocalhost(c *x509.Certificate) {
	c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
}

// Open opens the key, with the certificates of a file unless that is "".
func (k Key) Open(t *testing.T, certificate string) signer.Signer {
	t.Helper()
	parse := func(text string) keystore.Ref {
		ref, err := keystore.ParseRef(text)
		if err != nil {
			t.Fatal(err)
		}
		return ref
	}
	ref := parse(k.Ref)
	var s signer.Signer
	var err error
	if certificate == "" {
		s, err = all.New().Open(t.Context(), ref, keystore.Options{})
	} else {
		s, err = all.New().OpenIdentity(t.Context(), keystore.Identity{Key: ref, Certificate: parse(certificate)}, keystore.Options{})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
