package file

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/holdfast-dev/holdfast/internal/logging"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Backend opens references with the schemes "file", "env" and "-". It is safe
// for concurrent use.
type Backend struct{}

// Name implements [keystore.Backend].
func (Backend) Name() string { return "file" }

// Schemes implements [keystore.Backend].
func (Backend) Schemes() []string {
	return []string{keystore.SchemeFile, keystore.SchemeEnv, keystore.SchemeStdin}
}

// Open implements [keystore.Backend]. If the file contains several private keys,
// the certificates of call, or those in the file, must be for exactly one of
// them. The certificates in the file become the chain if one of them is for the
// key.
func (Backend) Open(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	c, err := read(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	type identity struct {
		key   crypto.Signer
		certs []*x509.Certificate
	}
	id, err := bounded(ctx, func() (id identity, err error) {
		id.key, id.certs, err = c.identity(ctx, password(ctx, ref, call), call.Certificates)
		return id, err
	}, nil)
	if err != nil {
		return nil, withName(err, ref, c.isBase64)
	}
	c.warn(ref, call)
	s := signer.FromKey(id.key)
	if len(id.certs) == 0 {
		return s, nil
	}
	selected, err := signer.SelectCertificates(s.Public(), id.certs, call.Time())
	if err != nil && !errors.Is(err, signer.ErrMismatch) && !errors.Is(err, signer.ErrNoCertificate) {
		return nil, err
	}
	return signer.WithCertificates(s, selected), nil
}

// Certificates implements [keystore.CertificateReader]. It asks for a password
// only if the certificates themselves are encrypted.
func (Backend) Certificates(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]*x509.Certificate, error) {
	c, err := read(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	if err := c.check(); err != nil && (len(c.bad) > 0 || c.tpmKeys > 0 || len(c.certs) == 0) {
		return nil, withName(err, ref, c.isBase64)
	}
	certs, err := bounded(ctx, func() ([]*x509.Certificate, error) { return c.certificates(ctx, password(ctx, ref, call)) }, nil)
	if err != nil {
		return nil, withName(err, ref, c.isBase64)
	}
	if len(certs) == 0 && c.hasPublic && len(c.keys) == 0 {
		return nil, signer.WithHint(errOnlyPublic, "give the file that the CA issued")
	}
	if len(certs) == 0 {
		return nil, signer.WithHint(errNoCertificate, "give a file that contains a certificate; this may be the key file")
	}
	c.warn(ref, call)
	return certs, nil
}

// warn logs the parts of the file that are not used.
func (c *contents) warn(ref keystore.Ref, call keystore.Call) {
	for _, err := range c.ignored {
		logging.OrDiscard(call.Logger).Warn(fmt.Sprintf("%s: a part of the file is not used: %v", ref, err))
	}
}

// Uses implements [keystore.Dependent].
func (Backend) Uses(ref keystore.Ref) (u keystore.Uses) {
	switch ref.Scheme {
	case keystore.SchemeFile:
		u.Files = []string{ref.Rest}
	case keystore.SchemeEnv:
		u.Variables = []string{ref.Rest}
	}
	return u
}

// Rebase implements [keystore.Rebaser].
func (Backend) Rebase(ref keystore.Ref, dir string) keystore.Ref {
	if ref.Scheme == keystore.SchemeFile && !filepath.IsAbs(ref.Rest) {
		ref.Rest = filepath.Join(dir, ref.Rest)
	}
	return ref
}

// read returns the parts of the file that ref names.
func read(ctx context.Context, ref keystore.Ref, call keystore.Call) (*contents, error) {
	data, err := call.Read(ctx, ref)
	if err != nil {
		return nil, err
	}
	c, err := parse(data)
	return c, withName(err, ref, c.isBase64)
}

// A passwordFunc asks for the password. It is called only if the password is
// needed. It returns the passwords to try, in this order.
type passwordFunc func() (passwords, error)

type passwords [][]byte

func (p passwords) clear() {
	for _, b := range p {
		clear(b)
	}
}

// password returns a passwordFunc. If the source of the password ends with a
// line end, the line end can be part of the password, as for a file that was
// given to another program as it is. A file does not count tries, so both are
// tried.
func password(ctx context.Context, ref keystore.Ref, call keystore.Call) passwordFunc {
	return func() (passwords, error) {
		if call.PIN == nil {
			return nil, signer.WithHint(errPasswordRequired, "give the password with Options.PIN")
		}
		var exact []byte
		p, err := call.PIN(ctx, keystore.Prompt{What: keystore.AskPassword, Ref: ref, Exact: &exact})
		if errors.Is(err, signer.ErrPINRequired) && signer.Hint(err) == "" {
			err = fmt.Errorf("%w: %w", errPasswordRequired, err)
		}
		if err != nil {
			clear(exact)
			return nil, err
		}
		if exact == nil {
			return passwords{p}, nil
		}
		return passwords{p, exact}, nil
	}
}

// A fileError wraps an error of package signer and replaces its text, which is
// about devices, with one about files.
type fileError struct {
	text string
	err  *error // its variable
}

func (e *fileError) Error() string { return e.text }
func (e *fileError) Unwrap() error { return *e.err }

// unsupported returns an error for contents that are recognized but not supported.
func unsupported(format string, args ...any) error {
	return &fileError{fmt.Sprintf(format, args...), &errors.ErrUnsupported}
}

var (
	errPasswordRequired  = &fileError{"is encrypted and needs a password", &signer.ErrPINRequired}
	errPasswordIncorrect = &fileError{"password incorrect, or the file is damaged", &signer.ErrPINIncorrect}
	errPublicKey         = &fileError{"contains a public key, and no private key", &signer.ErrNotFound}
	errOnlyPublic        = &fileError{"contains a public key, and no certificate", &signer.ErrNoCertificate}
	errNoKey             = &fileError{"contains no private key", &signer.ErrNotFound}
	errNoCertificate     = &fileError{"contains no certificate", &signer.ErrNoCertificate}
)
