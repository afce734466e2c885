package issuing_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/all"
	"github.com/holdfast-dev/holdfast/pki"
	"github.com/holdfast-dev/holdfast/pki/renew"
	"github.com/holdfast-dev/holdfast/pki/renew/dropfolder"
	"github.com/holdfast-dev/holdfast/pki/renew/program"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// renewInLoop renews the certificate in a file, twice each through a drop folder and
// through a program that talks to the CA.
func renewInLoop(t *testing.T, dir, key, file string) {
	t.Helper()
	folder := filepath.Join(dir, "requests")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	store, file := keystore.New(all.Backends()...), filepath.Join(dir, file)
	config := renew.Config{
		StateFile: filepath.Join(dir, "renewal"),
		Open: func(ctx context.Context) (signer.Signer, error) {
			s, err := store.OpenIdentity(ctx, keystore.Identity{Key: mustParse(t, key), Certificate: mustParse(t, file)}, keystore.Options{LookupEnv: os.LookupEnv})
			return s, err
		},
		Install: func(_ context.Context, _ *x509.Certificate, _ string, chain []*x509.Certificate) error {
			return os.WriteFile(file, signertest.CertPEM(chain...), 0o600)
		},
	}
	ca := []string{"holdfast", "ca", "issue", "--dir", filepath.Join(dir, "ca"), "--renew", "-"}
	for i, way := range []renew.Way{
		dropfolder.Way{Dir: folder}, dropfolder.Way{Dir: folder},
		program.Program{Args: ca, Env: os.Environ(), Signed: true},
		program.Program{Args: ca, Env: os.Environ(), Signed: true},
	} {
		config.Way = way
		r := renew.New(config)
		c, err := r.Renew(t.Context())
		if errors.As(err, new(*renew.WaitError)) {
			mustRun(t, dir, "ca", "issue", "--renew-folder", "requests")
			c, err = r.Renew(t.Context())
		}
		if err != nil {
			t.Fatalf("renewal %d: %v", i, err)
		}
		if data, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(data, signertest.CertPEM(c)) {
			t.Errorf("renewal %d is not installed: %v", i, err)
		}
	}
}

func mustParse(t *testing.T, text string) keystore.Ref {
	t.Helper()
	ref, err := keystore.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// A key in a file. Those in devices have tests of their own.
func TestRenewFile(t *testing.T) {
	dir := newCA(t)
	mustRun(t, dir, "ca", "issue", "--csr", "app.csr", "--subject", "CN=app", "--out", "cert.pem")
	renewInLoop(t, dir, filepath.Join(dir, "app.pem"), "cert.pem")

	// The CA refuses for a reason that the machine sees, also through a program.
	mustRun(t, dir, "ca", "revoke", "--certificate", "cert.pem")
	mustRun(t, dir, "csr", "--private-key", "app.pem", "--renew", "cert.pem", "--out", "renewal.p7")
	data, err := os.ReadFile(filepath.Join(dir, "renewal.p7"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "requests", "refused.p7"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runIn(t, dir, 0, "ca", "issue", "--renew-folder", "requests"); err == nil || !strings.Contains(err.Error(), "exit status 2") {
		t.Error(err)
	}
	if _, err := (dropfolder.Way{Dir: filepath.Join(dir, "requests")}).Renew(t.Context(), renew.Request{Token: "refused"}); !errors.Is(err, renew.ErrRejected) || !strings.Contains(err.Error(), "was revoked at") {
		t.Error(err)
	}
	r := signedRequest(t, dir, "cert.pem", "app.pem")
	p := program.Program{Args: []string{"holdfast", "ca", "issue", "--dir", filepath.Join(dir, "ca"), "--renew", "-"}, Env: os.Environ(), Signed: true}
	if _, err := p.Renew(t.Context(), r); !errors.Is(err, renew.ErrRejected) || !strings.Contains(err.Error(), "was revoked at") {
		t.Error(err)
	}
}

// signedRequest returns a request to renew the certificate in a file.
func signedRequest(t *testing.T, dir, certificate, key string) renew.Request {
	t.Helper()
	s, err := keystore.New(all.Backends()...).OpenIdentity(t.Context(), keystore.Identity{
		Key: mustParse(t, filepath.Join(dir, key)), Certificate: mustParse(t, filepath.Join(dir, certificate))}, keystore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	csr, err := pki.NewRequest(rand.Reader, s, pki.NamesOf(s.Chain()[0]))
	if err != nil {
		t.Fatal(err)
	}
	return renew.Request{Old: s, CSR: csr, Token: "a", Attempt: 1}
}
