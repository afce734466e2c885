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

// Certificates implements [keystore.CertificateReader]: the certificate of the
// one identity that the reference names, and its issuers as far as the
// keychains have them. The key is not touched.
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

// List implements [keystore.Lister] with one entry for each identity, which is
// a certificate with a private key. One whose key is of a type that cannot be
// used here is listed as its certificate.
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

// Advice implements [keystore.Adviser]. There is no Generate: a key in the Secure
// Enclave or in the data-protection keychain takes entitlements, and one in a
// file keychain could be exported. sc_auth has the entitlements.
func (Backend) Advice() string {
	return "make a key with sc_auth create-ctk-identity and put its certificate beside it with sc_auth import-ctk-certificate, or bring both with security import; see docs/keychain.md"
}
