package keychain

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"

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
func (Backend) Open(ctx context.Context, ref keystore.Ref, opts keystore.Options) (signer.Signer, error) {
	cfg, err := configFor(ref, opts)
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
func (Backend) Certificates(ctx context.Context, ref keystore.Ref, opts keystore.Options) ([]*x509.Certificate, error) {
	cfg, err := configFor(ref, opts)
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
// a certificate with a private key. Beside an error it returns what it found
// all the same: a keychain that does not answer hides no other.
func (Backend) List(ctx context.Context, ref keystore.Ref, opts keystore.Options) ([]keystore.Entry, error) {
	cfg, err := configFor(ref, opts)
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

// Generate implements [keystore.Generator]. It fails with
// [errors.ErrUnsupported]: a key in the Secure Enclave or in the
// data-protection keychain takes entitlements, and one in a file keychain could
// be exported. sc_auth has the entitlements.
func (Backend) Generate(_ context.Context, ref keystore.Ref, _ keystore.KeySpec, opts keystore.Options) (signer.Signer, error) {
	return nil, refuse(ref, opts, "making a key", "make it with sc_auth create-ctk-identity, or elsewhere and bring it with security import; see docs/keychain.md")
}

// Install implements [keystore.Installer]. It fails with
// [errors.ErrUnsupported], for the reason that [Backend.Generate] does.
func (Backend) Install(_ context.Context, ref keystore.Ref, _ []*x509.Certificate, opts keystore.Options) error {
	return refuse(ref, opts, "putting a certificate beside a key", "put it there with security import, or sc_auth import-ctk-certificate if sc_auth made the key; see docs/keychain.md")
}

// refuse names what is wrong before that: the reference, the system.
func refuse(ref keystore.Ref, opts keystore.Options, what, hint string) error {
	if _, err := configFor(ref, opts); err != nil {
		return err
	}
	if _, err := system(); err != nil {
		return err
	}
	return signer.WithHint(fmt.Errorf("%s is left to the tools of macOS: %w", what, errors.ErrUnsupported), hint)
}
