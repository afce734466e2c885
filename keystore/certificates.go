package keystore

import (
	"context"
	"crypto/x509"
)

// Certificates returns the certificates behind ref, in the order of the backend:
// for a file, in the order of the file. It opens no key. It returns at least one
// certificate or an error, which is one of [Store.Open] or wraps
// [signer.ErrNoCertificate].
func (s *Store) Certificates(ctx context.Context, ref Ref, opts Options) ([]*x509.Certificate, error) {
	call := s.begin(opts)
	defer call.end()
	return s.certificates(ctx, ref, call)
}

// IsInput reports whether ref names a file, standard input or an environment
// variable, which the Store reads by itself, and not a device or a key store.
func (s *Store) IsInput(ref Ref) bool { return ref.isInput() }

// SchemeOf returns the scheme of ref, such as pkcs11; "file" for a path. It opens nothing.
func (s *Store) SchemeOf(ref Ref) string { return ref.Scheme }
