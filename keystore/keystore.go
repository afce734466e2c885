package keystore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Backend opens the keys of one kind of store. It holds no state: what it
// opens belongs to the Signer that it returns. It is safe for concurrent use.
type Backend interface {
	// Name is short and in lower case, such as "pkcs11"; errors begin with it.
	Name() string
	// Schemes returns the schemes of the references that Open understands.
	Schemes() []string
	// Open opens the one key that ref names. Its errors wrap those of
	// package signer where one fits; the Store adds the backend and the
	// reference.
	Open(ctx context.Context, ref Ref, call Call) (signer.Signer, error)
}

// A PEMClaimer is a Backend that also opens files, given as a plain path, that
// hold a PEM block of a type of its own, such as "TSS2 PRIVATE KEY". Its Open
// then gets a reference with one of the schemes of this package, and reads it
// by [Call.Read].
type PEMClaimer interface {
	Backend
	ClaimsPEM(blockType string) bool
}

// A CertificateReader is a Backend that can tell the certificates behind a
// reference without opening a key: all of them, in no particular order.
type CertificateReader interface {
	Backend
	Certificates(ctx context.Context, ref Ref, call Call) ([]*x509.Certificate, error)
}

// Options are what a caller of the [Store] gives and a reference must not
// carry. The zero value asks for nothing, logs nothing and refuses standard
// input. They are not changed, and may be used for several calls at once as far
// as what they hold may be.
type Options struct {
	PIN       PINFunc                          // nil: never ask; a key that needs one fails with signer.ErrPINRequired
	Logger    *slog.Logger                     // nil: discard
	Stdin     io.Reader                        // what "-" reads; nil: refused
	LookupEnv func(name string) (string, bool) // what env:NAME reads; nil: refused

	memory *memory // set by Once; nil: of one call
}

func (o Options) logger() *slog.Logger { return logging.OrDiscard(o.Logger) }

// A Store opens references by a fixed list of backends. It is safe for
// concurrent use.
type Store struct {
	backends []Backend
	scheme   map[string]Backend
}

// New returns a Store over backends. It panics if two of them have the same
// scheme, since that is a mistake in the program.
func New(backends ...Backend) *Store {
	s := &Store{backends, make(map[string]Backend)}
	for _, b := range backends {
		for _, name := range b.Schemes() {
			if other, ok := s.scheme[name]; ok {
				panic(fmt.Sprintf("keystore: scheme %q belongs to both %s and %s", name, other.Name(), b.Name()))
			}
			s.scheme[name] = b
		}
	}
	return s
}

// Open opens the key that a reference names. The caller closes the Signer.
// Errors are a [*RefError] or a [*signer.Error].
func (s *Store) Open(ctx context.Context, ref Ref, opts Options) (signer.Signer, error) {
	call := s.begin(opts)
	defer call.end()
	return s.open(ctx, ref, call)
}

func (s *Store) open(ctx context.Context, ref Ref, call Call) (signer.Signer, error) {
	b, err := s.backend(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	key, err := b.Open(ctx, ref, call)
	return key, wrap(b, "open", ref, err)
}

// certificates returns the certificates behind ref.
func (s *Store) certificates(ctx context.Context, ref Ref, call Call) ([]*x509.Certificate, error) {
	b, err := s.backend(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	const op = "read certificates of"
	r, ok := b.(CertificateReader)
	if !ok {
		return nil, wrap(b, op, ref, errors.ErrUnsupported)
	}
	certs, err := r.Certificates(ctx, ref, call)
	return certs, wrap(b, op, ref, err)
}

// backend chooses by scheme, and among those that share files by the types of
// the PEM blocks inside.
func (s *Store) backend(ctx context.Context, ref Ref, call Call) (Backend, error) {
	b, ok := s.scheme[ref.Scheme]
	if !ok {
		return nil, s.unknown(ref)
	}
	if !ref.isInput() {
		return b, nil
	}
	data, err := call.Read(ctx, ref)
	if err != nil {
		return nil, wrap(b, "open", ref, err)
	}
	types := pemTypes(data)
	for _, other := range s.backends {
		if c, ok := other.(PEMClaimer); ok && slices.ContainsFunc(types, c.ClaimsPEM) {
			return other, nil
		}
	}
	return b, nil
}

// unknown is the error of a reference that no backend has the scheme of.
func (s *Store) unknown(ref Ref) error {
	if ref.IsZero() {
		return &RefError{"", errEmpty}
	}
	return &RefError{ref.String(), signer.WithHint(
		fmt.Errorf("scheme %q is not one of %s", ref.Scheme, strings.Join(slices.Sorted(maps.Keys(s.scheme)), ", ")),
		fmt.Sprintf("for a file of that name write ./%s:…", ref.Scheme))}
}

// wrap adds the backend and the reference, unless err has them already.
func wrap(b Backend, op string, ref Ref, err error) error {
	var refErr *RefError
	var own *signer.Error
	if err == nil || errors.As(err, &refErr) || errors.As(err, &own) {
		return err
	}
	return &signer.Error{Backend: b.Name(), Op: op, Ref: ref.String(), Err: err}
}
