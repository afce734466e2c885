// Package all is the list of Holdfast's backends.
package all

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/keychain"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/keystore/file"
	"github.com/holdfast-dev/holdfast/pkcs11"
	"github.com/holdfast-dev/holdfast/signer"
)

// Backends returns every backend: the one line to add for a new one.
func Backends() []keystore.Backend {
	return []keystore.Backend{
		file.Backend{},
		pkcs11.Backend{},
		absent{"tpm", []string{"tpm", "handle"}},
		absent{"winstore", []string{"winstore"}},
		keychain.Backend{},
	}
}

// New returns a Store over all backends.
func New() *keystore.Store { return keystore.New(Backends()...) }

// An absent backend has its schemes reserved, so that a reference to it is
// told apart from a mistake.
type absent struct {
	name    string
	schemes []string
}

func (a absent) Name() string      { return a.name }
func (a absent) Schemes() []string { return a.schemes }

func (a absent) Open(context.Context, keystore.Ref, keystore.Options) (signer.Signer, error) {
	return nil, a.err()
}

func (a absent) Certificates(context.Context, keystore.Ref, keystore.Options) ([]*x509.Certificate, error) {
	return nil, a.err()
}

func (a absent) err() error {
	return signer.WithHint(
		fmt.Errorf("this version of Holdfast has no %s backend: %w", a.name, errors.ErrUnsupported),
		"use a key file until it has")
}
