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

// A backend is a keystore.Backend of functions. Those that are nil are not
// called by the test.
type backend struct {
	name    string
	schemes []string
	open    func(ctx context.Context, ref keystore.Ref, opts keystore.Options) (signer.Signer, error)
}

func (b *backend) Name() string      { return b.name }
func (b *backend) Schemes() []string { return b.schemes }

func (b *backend) Open(ctx context.Context, ref keystore.Ref, opts keystore.Options) (signer.Signer, error) {
	return b.open(ctx, ref, opts)
}

// A reader is a backend that also reads certificates.
type reader struct {
	*backend
	certificates func(ctx context.Context, ref keystore.Ref, opts keystore.Options) ([]*x509.Certificate, error)
}

func (r reader) Certificates(ctx context.Context, ref keystore.Ref, opts keystore.Options) ([]*x509.Certificate, error) {
	return r.certificates(ctx, ref, opts)
}

// A claimer is a backend that also claims PEM blocks of a type.
type claimer struct {
	*backend
	blockType string
}

func (c claimer) ClaimsPEM(blockType string) bool { return blockType == c.blockType }

// promptly runs f, which must come to an end without anybody's help.
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
		t.Fatal("does not come to an end")
	}
}

// write makes a file in a new folder and returns its path.
func write(t *testing.T, data []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // not subject to the umask
		t.Fatal(err)
	}
	return path
}

func fileRef(path string) keystore.Ref { return keystore.Ref{Scheme: keystore.SchemeFile, Rest: path} }
