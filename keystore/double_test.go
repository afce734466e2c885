package keystore_test

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// A backend is a keystore.Backend made of functions. The test does not call a
// nil function.
type backend struct {
	name    string
	schemes []string
	open    func(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error)
}

func (b *backend) Name() string      { return b.name }
func (b *backend) Schemes() []string { return b.schemes }

func (b *backend) Open(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	return b.open(ctx, ref, call)
}

// A reader is a backend that also reads certificates.
type reader struct {
	*backend
	certificates func(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]*x509.Certificate, error)
}

func (r reader) Certificates(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]*x509.Certificate, error) {
	return r.certificates(ctx, ref, call)
}

// A claimer is a backend that also claims PEM blocks of a type.
type claimer struct {
	*backend
	blockType string
}

func (c claimer) ClaimsPEM(blockType string) bool { return blockType == c.blockType }

// promptly runs f, and fails the test if it does not return within a minute.
func promptly(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("did not return within a minute")
	}
}

// write creates a file in a new folder and returns its path.
func write(t *testing.T, data []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // the umask does not affect Chmod
		t.Fatal(err)
	}
	return path
}

// refOf parses a well-formed reference.
func refOf(t testing.TB, text string) keystore.Ref {
	t.Helper()
	ref, err := keystore.ParseRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// texts are the references of an Identity as strings.
type texts struct{ Key, Certificate, Intermediates string }

func (in texts) parse() (keystore.Identity, error) {
	id, err := keystore.ParseIdentity(in.Certificate, in.Key)
	if err != nil || in.Intermediates == "" {
		return id, err
	}
	id.Intermediates, err = keystore.ParseRef(in.Intermediates)
	return id, err
}

// open parses and opens an identity.
func (in texts) open(t *testing.T, store *keystore.Store, opts keystore.Options) (signer.Signer, error) {
	id, err := in.parse()
	if err != nil {
		return nil, err
	}
	return store.OpenIdentity(t.Context(), id, opts)
}

// pinSource returns the PINFunc of a pin-source.
func pinSource(text string, opts keystore.Options) (keystore.PINFunc, error) {
	source, err := keystore.ParsePINSource(text)
	if err != nil {
		return nil, err
	}
	return keystore.Call{Options: opts}.PINSource(source)
}

func fileRef(path string) keystore.Ref { return keystore.Ref{Scheme: keystore.SchemeFile, Rest: path} }
