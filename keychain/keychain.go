package keychain

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Backend opens "keychain:" references. It is safe for concurrent use.
type Backend struct{}

// Name implements [keystore.Backend].
func (Backend) Name() string { return scheme }

// Schemes implements [keystore.Backend].
func (Backend) Schemes() []string { return []string{scheme} }

// Open implements [keystore.Backend].
func (Backend) Open(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	k, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// Certificates implements [keystore.CertificateReader]. It returns the
// certificate of the identity that the reference names, and its issuers in the
// keychains. It does not use the private key.
func (Backend) Certificates(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]*x509.Certificate, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	sys, err := system()
	if err != nil {
		return nil, err
	}
	return certificates(ctx, cfg, sys)
}

// List implements [keystore.Lister]. It lists identities, which are certificates
// with a private key. If the type of the key is not supported, the entry is a
// [keystore.CertificateEntry].
func (Backend) List(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	sys, err := system()
	if err != nil {
		return nil, err
	}
	return list(ctx, cfg, sys)
}

// SetAttribute implements [keystore.AttributeSetter] for newest.
func (Backend) SetAttribute(ref keystore.Ref, name, value string) (keystore.Ref, error) {
	if name != "newest" {
		return ref, errors.ErrUnsupported
	}
	return keystore.WithAttribute(ref, name, value), nil
}

// Advice implements [keystore.Adviser]. The backend does not generate keys:
// creating a key in the Secure Enclave or in the data-protection keychain
// requires entitlements, which sc_auth has, and a key in a file-based keychain
// could be exported.
func (Backend) Advice() string {
	return "create a key with sc_auth create-ctk-identity and add its certificate with sc_auth import-ctk-certificate, or import both with security import; see docs/keychain.md"
}
