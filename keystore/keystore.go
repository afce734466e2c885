package keystore

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-dev/holdfast/internal/armor"
	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/signer"
)

// A Backend opens the keys of one kind of store. It holds no state: the Signer
// that Open returns owns all resources. It is safe for concurrent use.
type Backend interface {
	// Name returns a short lower-case name, such as "pkcs11". Errors begin
	// with it.
	Name() string
	// Schemes returns the schemes of the references that Open accepts.
	Schemes() []string
	// Open opens the one key that ref names. Its errors wrap an error of
	// package signer where one applies. The Store adds the backend and the
	// reference to the text.
	Open(ctx context.Context, ref Ref, call Call) (signer.Signer, error)
}

// A PEMClaimer is a Backend that also opens plain files with a PEM block of its
// own type, such as "TSS2 PRIVATE KEY". For such a file, Open receives a
// reference with one of the schemes of this package and reads it with
// [Call.Read].
type PEMClaimer interface {
	Backend
	// ClaimsPEM reports whether the backend opens PEM blocks of this type.
	ClaimsPEM(blockType string) bool
}

// A CertificateReader is a Backend that can read the certificates behind a
// reference without opening a key.
type CertificateReader interface {
	Backend
	// Certificates returns all certificates behind ref, in no particular
	// order.
	Certificates(ctx context.Context, ref Ref, call Call) ([]*x509.Certificate, error)
}

// Options hold the input of a [Store] that must not be part of a reference. The
// zero value never asks for a PIN, logs nothing, and refuses standard input and
// environment variables. The Store does not change Options. Concurrent calls
// can share them if the values of the fields are safe for concurrent use.
type Options struct {
	PIN       PINFunc                          // nil: a key that needs a PIN fails with signer.ErrPINRequired
	Logger    *slog.Logger                     // nil: discard
	Stdin     io.Reader                        // read for "-"; nil: refuse
	LookupEnv func(name string) (string, bool) // read for env:NAME; nil: refuse
	Environ   func() []string                  // NAME=VALUE, for programs that a backend starts; nil: no variables
	Now       func() time.Time                 // decides which certificates are valid; nil: time.Now

	// Permit is called before a PIN or password is asked for, read or sent to a
	// device, and before a device with a keypad asks for it. It is also called
	// before an authorization without a password that a TPM can count as a
	// failed try. An error refuses it, and is in the tree of the result's
	// error. nil permits all.
	Permit func(Prompt) error

	// LongRunning says that the process is to sign for a long time. A backend that
	// loads code of other vendors, which can crash or hang the process, then runs that
	// in a process of its own if it can and the reference does not say where.
	LongRunning bool

	cache *inputCache // set by Once; nil: each call of the Store has its own
}

func (o Options) logger() *slog.Logger { return logging.OrDiscard(o.Logger) }

// Time returns the time of Now.
func (o Options) Time() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// A Store opens references with a fixed list of backends. It is safe for
// concurrent use.
type Store struct{ backends []Backend }

// New returns a Store with the given backends. If two of them have the same scheme, the
// first one opens it. New itself calls no method of a backend.
func New(backends ...Backend) *Store { return &Store{backends} }

// find returns the backend with a scheme, or nil. It does not ask the backends after that
// one, whose code a short process need not load.
func (s *Store) find(scheme string) Backend {
	for _, b := range s.backends {
		if slices.Contains(b.Schemes(), scheme) {
			return b
		}
	}
	return nil
}

// Open opens the key that ref names. The caller closes the Signer. An error is
// a [*RefError] or a [*signer.Error].
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

// backend selects a backend by the scheme of ref. If ref names a file, a
// variable or standard input, a [PEMClaimer] of one of its PEM blocks comes
// first, also if they are encoded once more, as in base64.
func (s *Store) backend(ctx context.Context, ref Ref, call Call) (Backend, error) {
	b := s.find(ref.Scheme)
	if b == nil {
		return nil, s.unknownScheme(ref)
	}
	if !ref.isInput() {
		return b, nil
	}
	data, err := call.Read(ctx, ref)
	if err != nil {
		return nil, wrap(b, "open", ref, err)
	}
	data, _ = armor.Decode(data)
	blocks := pemBlocks(data)
	for _, other := range s.backends {
		if c, ok := other.(PEMClaimer); ok && slices.ContainsFunc(blocks, func(b pemBlock) bool { return c.ClaimsPEM(b.label) }) {
			return other, nil
		}
	}
	return b, nil
}

// unknownScheme returns the error for a reference whose scheme no backend has.
func (s *Store) unknownScheme(ref Ref) error {
	if ref.IsZero() {
		return &RefError{"", errEmpty}
	}
	hint := fmt.Sprintf("if this is the name of a file, write ./%s:…", ref.Scheme)
	var schemes []string
	for _, b := range s.backends {
		schemes = append(schemes, b.Schemes()...)
	}
	slices.Sort(schemes)
	for _, scheme := range schemes {
		if plain(scheme) == plain(ref.Scheme) {
			hint = "did you mean " + scheme + ":?"
		}
	}
	return &RefError{ref.String(), signer.WithHint(
		fmt.Errorf("scheme %q is not one of %s", ref.Scheme, strings.Join(slices.Compact(schemes), ", ")),
		hint)}
}

// wrap adds the backend and the reference to err, unless err already has them.
func wrap(b Backend, op string, ref Ref, err error) error {
	var refErr *RefError
	var own *signer.Error
	if err == nil || errors.As(err, &refErr) || errors.As(err, &own) {
		return err
	}
	return &signer.Error{Backend: b.Name(), Op: op, Ref: ref.String(), Err: err}
}
