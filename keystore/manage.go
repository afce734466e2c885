package keystore

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// capable returns the backend of a reference if it has a capability.
func capable[C Backend](s *Store, op, ref string) (c C, r Ref, err error) {
	if r, err = ParseRef(ref); err != nil {
		return c, r, err
	}
	b, ok := s.scheme[r.Scheme]
	if !ok {
		return c, r, s.unknown(r)
	}
	if c, ok = b.(C); !ok {
		err = signer.WithHint(fmt.Errorf("keys of this kind are made and kept by other programs: %w", errors.ErrUnsupported),
			"see docs/references.md for what each kind of reference can do")
	}
	return c, r, wrap(b, op, r, err)
}

// Generate makes a key where ref says; see [Generator]. The caller closes it.
func (s *Store) Generate(ctx context.Context, ref string, spec KeySpec, opts Options) (signer.Signer, error) {
	const op = "generate"
	b, r, err := capable[Generator](s, op, ref)
	if err != nil {
		return nil, err
	}
	opts = s.prepare(opts)
	defer opts.end()
	key, err := b.Generate(ctx, r, spec, opts)
	return key, wrap(b, op, r, err)
}

// Seal keeps a secret where ref says; see [Sealer]. It borrows secret.
func (s *Store) Seal(ctx context.Context, ref string, secret []byte, opts Options) error {
	const op = "seal"
	b, r, err := capable[Sealer](s, op, ref)
	if err != nil {
		return err
	}
	opts = s.prepare(opts)
	defer opts.end()
	return wrap(b, op, r, b.Seal(ctx, r, secret, opts))
}

// List tells what there is below ref; see [Lister].
func (s *Store) List(ctx context.Context, ref string, opts Options) ([]Entry, error) {
	const op = "list"
	b, r, err := capable[Lister](s, op, ref)
	if err != nil {
		return nil, err
	}
	opts = s.prepare(opts)
	defer opts.end()
	entries, err := b.List(ctx, r, opts)
	return entries, wrap(b, op, r, err)
}

// Listers returns references that List takes, one for each kind of store that
// can be listed.
func (s *Store) Listers() []string {
	var refs []string
	for _, b := range s.backends {
		if _, ok := b.(Lister); ok {
			refs = append(refs, b.Schemes()[0]+":")
		}
	}
	return refs
}
