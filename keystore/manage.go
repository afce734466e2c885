package keystore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// capable returns the backend of a reference if it has a capability. The error
// is [errors.ErrUnsupported] if it does not.
func capable[C Backend](s *Store, op string, ref Ref) (c C, err error) {
	b, ok := s.scheme[ref.Scheme]
	if !ok {
		return c, s.unknown(ref)
	}
	if c, ok = b.(C); !ok {
		hint := "see docs/references.md for what can be done with each kind of reference"
		if a, ok := b.(Adviser); ok {
			hint = a.Advice()
		}
		err = signer.WithHint(fmt.Errorf("keys of this kind are made and kept by other programs: %w", errors.ErrUnsupported), hint)
	}
	return c, wrap(b, op, ref, err)
}

// Generate makes a key where ref says; see [Generator]. The caller closes it.
// Errors are a [*RefError] or a [*signer.Error].
func (s *Store) Generate(ctx context.Context, ref Ref, spec KeySpec, opts Options) (Key, error) {
	const op = "generate"
	b, err := capable[Generator](s, op, ref)
	if err != nil {
		return nil, err
	}
	call := s.begin(opts)
	defer call.end()
	key, err := b.Generate(ctx, ref, spec, call)
	return key, wrap(b, op, ref, err)
}

// Install puts a chain, leaf first, beside the key that ref names, and removes
// nothing; see [Installer]. It borrows chain. Errors are a [*RefError] or a
// [*signer.Error]; they wrap those that an Installer has, and
// [errors.ErrUnsupported] if there is none for this kind of key.
func (s *Store) Install(ctx context.Context, ref Ref, chain []*x509.Certificate, opts Options) error {
	const op = "install certificates beside"
	b, err := capable[Installer](s, op, ref)
	if err != nil {
		return err
	}
	call := s.begin(opts)
	defer call.end()
	return wrap(b, op, ref, b.Install(ctx, ref, chain, call))
}

// Seal keeps a secret where ref says; see [Sealer]. It borrows secret.
func (s *Store) Seal(ctx context.Context, ref Ref, secret []byte, opts Options) error {
	const op = "seal"
	b, err := capable[Sealer](s, op, ref)
	if err != nil {
		return err
	}
	call := s.begin(opts)
	defer call.end()
	return wrap(b, op, ref, b.Seal(ctx, ref, secret, call))
}

// List tells what there is below ref; see [Lister]. Beside an error, which is a
// [*RefError] or a [*signer.Error], there may be entries.
func (s *Store) List(ctx context.Context, ref Ref, opts Options) ([]Entry, error) {
	const op = "list"
	b, err := capable[Lister](s, op, ref)
	if err != nil {
		return nil, err
	}
	call := s.begin(opts)
	defer call.end()
	entries, err := b.List(ctx, ref, call)
	return entries, wrap(b, op, ref, err)
}

// Listers returns references that List takes, one for each kind of store that
// can be listed.
func (s *Store) Listers() []Ref {
	var refs []Ref
	for _, b := range s.backends {
		if _, ok := b.(Lister); ok {
			refs = append(refs, Ref{Scheme: b.Schemes()[0]})
		}
	}
	return refs
}
