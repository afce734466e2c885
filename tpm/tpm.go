package tpm

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Backend opens "tpm:" and "handle:" references, and files with a TSS2 PRIVATE
// KEY block. It is safe for concurrent use.
type Backend struct{}

// Name implements [keystore.Backend].
func (Backend) Name() string { return "tpm" }

// Schemes implements [keystore.Backend].
func (Backend) Schemes() []string { return []string{"tpm", "handle"} }

// ClaimsPEM implements [keystore.PEMClaimer].
func (Backend) ClaimsPEM(blockType string) bool {
	return blockType == pemType || blockType == oldPEMType
}

// Open implements [keystore.Backend].
func (Backend) Open(ctx context.Context, ref keystore.Ref, call keystore.Call) (signer.Signer, error) {
	cfg, err := configFor(ctx, ref, call)
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
// certificates in the key file. A TPM does not store certificates for these
// keys.
func (Backend) Certificates(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]*x509.Certificate, error) {
	cfg, err := configFor(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	certs, err := certificates(cfg.PEM)
	if err == nil && len(certs) == 0 {
		err = signer.ErrNoCertificate
	}
	return certs, err
}

// Uses implements [keystore.Dependent]. It returns the key file and the PIN
// sources of the key and its parent.
func (Backend) Uses(ref keystore.Ref) keystore.Uses {
	if ref.Scheme != "tpm" {
		return keystore.Uses{}
	}
	return keystore.UsesOfAttributes(ref.Rest, ";", "path")
}

// Rebase implements [keystore.Rebaser] for the path of a "tpm:" reference.
func (Backend) Rebase(ref keystore.Ref, dir string) keystore.Ref {
	if ref.Scheme != "tpm" {
		return ref
	}
	return keystore.RebaseAttributes(ref, dir, "path")
}

// SetAttribute implements [keystore.AttributeSetter] for the pin-source of a
// "tpm:" reference. It does not add pin-source to a reference with a pin-value.
// A "handle:" reference has no attributes.
func (Backend) SetAttribute(ref keystore.Ref, name, value string) (keystore.Ref, error) {
	if ref.Scheme != "tpm" || name != "pin-source" {
		return ref, errors.ErrUnsupported
	}
	return keystore.WithAttribute(ref, name, value, "pin-value"), nil
}

// Unseal implements [keystore.Unsealer]. It returns the secret in a file of
// sealed data.
func (Backend) Unseal(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]byte, error) {
	cfg, err := configFor(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	return Unseal(ctx, cfg)
}
