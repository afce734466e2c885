package keystore

import (
	"context"
	"errors"

	"github.com/holdfast-dev/holdfast/signer"
)

// backendWith returns the backend of ref if it has the capability C. Otherwise
// the error wraps [errors.ErrUnsupported].
func backendWith[C Backend](s *Store, op string, ref Ref) (c C, err error) {
	b := s.find(ref.Scheme)
	if b == nil {
		return c, s.unknownScheme(ref)
	}
	c, ok := b.(C)
	if !ok {
		hint := "docs/references.md lists the operations for each kind of reference"
		if a, ok := b.(Adviser); ok {
			hint = a.Advice()
		}
		err = signer.WithHint(errors.ErrUnsupported, hint)
	}
	return c, wrap(b, op, ref, err)
}

// Generate generates a key pair with the name in ref; see [Generator]. The
// caller closes the Key. An error is a [*RefError] or a [*signer.Error].
func (s *Store) Generate(ctx context.Context, ref Ref, spec KeySpec, opts Options) (Key, error) {
	const op = "generate"
	b, err := backendWith[Generator](s, op, ref)
	if err != nil {
		return nil, err
	}
	call := s.begin(opts)
	defer call.end()
	key, err := b.Generate(ctx, ref, spec, call)
	return key, wrap(b, op, ref, err)
}

// Seal stores a secret under the name in ref; see [Sealer]. It borrows secret.
// An error is a [*RefError] or a [*signer.Error].
func (s *Store) Seal(ctx context.Context, ref Ref, secret []byte, opts Options) error {
	const op = "seal"
	b, err := backendWith[Sealer](s, op, ref)
	if err != nil {
		return err
	}
	call := s.begin(opts)
	defer call.end()
	return wrap(b, op, ref, b.Seal(ctx, ref, secret, call))
}

// List returns the entries below ref; see [Lister]. It can return entries
// together with an error. An error is a [*RefError] or a [*signer.Error].
func (s *Store) List(ctx context.Context, ref Ref, opts Options) ([]Entry, error) {
	const op = "list"
	b, err := backendWith[Lister](s, op, ref)
	if err != nil {
		return nil, err
	}
	call := s.begin(opts)
	defer call.end()
	entries, err := b.List(ctx, ref, call)
	return entries, wrap(b, op, ref, err)
}

// Listers returns one reference for each kind of store that List supports. Files
// are not among them, because there is no list of all files.
func (s *Store) Listers() []Ref {
	var refs []Ref
	for _, b := range s.backends {
		ref := Ref{Scheme: b.Schemes()[0]}
		if _, ok := b.(Lister); ok && !ref.isInput() {
			refs = append(refs, ref)
		}
	}
	return refs
}
