package pki_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// A request for an ML-DSA key is not called invalid. IAM Roles Anywhere accepts a CA
// with such a key, which this package does not use.
func TestMLDSA(t *testing.T) {
	openssl, dir := signertest.OpenSSL35(t), t.TempDir()
	signertest.IssueMLDSA(t, dir, "ML-DSA-87", "seed-only")
	cmd := exec.Command(openssl, "req", "-new", "-config", "", "-key", "key.pem", "-subj", "/CN=app", "-out", "app.csr")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	_, err := pki.ParseRequest(read("app.csr"))
	if !errors.Is(err, pki.ErrRequest) || !errors.Is(err, errors.ErrUnsupported) || strings.Contains(err.Error(), "invalid") ||
		!strings.Contains(err.Error(), "no certificates for ML-DSA-87 keys") || !strings.Contains(signer.Hint(err), "openssl req ") {
		t.Errorf("error %v, hint %q", err, signer.Hint(err))
	}
	var certs []*x509.Certificate
	for _, name := range []string{"cert.pem", "root.pem"} {
		block, _ := pem.Decode(read(name))
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, c)
	}
	if err := pki.CheckAnchor(certs[1]); err != nil {
		t.Error(err)
	}
	if err := pki.CheckChain(certs); err != nil {
		t.Error(err)
	}
	for name, chain := range map[string][]*x509.Certificate{"not issued": {certs[1], certs[0]}, "not a CA": {certs[0], certs[0]}} {
		if pki.CheckChain(chain) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
