// Package file opens private keys in software: PEM or DER with PKCS #1, SEC 1,
// PKCS #8 (also encrypted) and PKCS #12, from a file, standard input or an
// environment variable, with the certificates that stand beside them.
package file

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Backend opens the references of schemes "file", "env" and "-". It is safe
// for concurrent use.
type Backend struct{}

// Name implements [keystore.Backend].
func (Backend) Name() string { return "file" }

// Schemes implements [keystore.Backend].
func (Backend) Schemes() []string {
	return []string{keystore.SchemeFile, keystore.SchemeEnv, keystore.SchemeStdin}
}

// Open implements [keystore.Backend]. The file holds one private key; its
// certificates, if there are any, become the chain.
func (Backend) Open(ctx context.Context, ref keystore.Ref, opts keystore.Options) (signer.Signer, error) {
	c, err := read(ctx, ref, opts)
	if err != nil {
		return nil, err
	}
	key, certs, err := c.identity(password(ctx, ref, opts))
	if err != nil {
		return nil, err
	}
	s := signer.FromKey(key)
	if len(certs) == 0 {
		return s, nil
	}
	return signer.Bind(s, certs)
}

// Certificates implements [keystore.CertificateReader]. It asks for a password
// only if the certificates themselves are encrypted.
func (Backend) Certificates(ctx context.Context, ref keystore.Ref, opts keystore.Options) ([]*x509.Certificate, error) {
	c, err := read(ctx, ref, opts)
	if err != nil {
		return nil, err
	}
	certs, err := c.certificates(password(ctx, ref, opts))
	if err == nil && len(certs) == 0 {
		err = errors.New("holds no certificate")
	}
	return certs, err
}

func read(ctx context.Context, ref keystore.Ref, opts keystore.Options) (*contents, error) {
	data, err := opts.Read(ctx, ref)
	if err != nil {
		return nil, err
	}
	return parse(data)
}

// A passwordFunc asks for the password once it is known to be needed.
type passwordFunc func() ([]byte, error)

func password(ctx context.Context, ref keystore.Ref, opts keystore.Options) passwordFunc {
	return func() ([]byte, error) {
		if opts.PIN == nil {
			return nil, errPasswordRequired
		}
		p, err := opts.PIN(ctx, keystore.Prompt{What: "password", Ref: ref})
		if errors.Is(err, signer.ErrPINRequired) && signer.Hint(err) == "" {
			err = fmt.Errorf("%w: %w", errPasswordRequired, err)
		}
		return p, err
	}
}

// A passwordError says "password" where package signer says "PIN".
type passwordError struct {
	text string
	err  error
}

func (e *passwordError) Error() string { return e.text }
func (e *passwordError) Unwrap() error { return e.err }

var (
	errPasswordRequired  = &passwordError{"is encrypted and needs a password", signer.ErrPINRequired}
	errPasswordIncorrect = &passwordError{"password incorrect, or the file is damaged", signer.ErrPINIncorrect}
)

// usable returns key as a crypto.Signer if it is of a type that a Signer can have.
func usable(key any) (crypto.Signer, error) {
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("private key of type %T cannot sign: %w", key, errors.ErrUnsupported)
	}
	return s, nil
}
