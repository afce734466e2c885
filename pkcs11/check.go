package pkcs11

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// CheckCertificates implements [keystore.CertificateChecker]. Most tokens show
// public keys without a login. It decides only if ref names a key by its label or
// ID, and one public key has that name.
func (Backend) CheckCertificates(ctx context.Context, ref keystore.Ref, certs []*x509.Certificate, call keystore.Call) error {
	cfg, err := configFor(ref, call)
	if err != nil {
		return err
	}
	return checkCertificates(ctx, cfg, certs, &loaded)
}

func checkCertificates(ctx context.Context, cfg Config, certs []*x509.Certificate, table *modules) error {
	if cfg.URI.Object == "" && cfg.URI.ID == "" {
		return nil
	}
	pubs, err := bounded(ctx, cfg.in(table), func() ([]crypto.PublicKey, error) { return visiblePublics(cfg, table) }, nil)
	if err != nil || len(pubs) != 1 {
		return err
	}
	in := keystore.Installation{Certificates: certs}
	if _, err := in.Select(pubs[0], cfg.now()); errors.Is(err, signer.ErrMismatch) {
		return err
	}
	return nil
}

// visiblePublics returns the public keys with the name in cfg.URI that a token
// shows without a login. An error that the use of the private key reports, too, is
// none here.
func visiblePublics(cfg Config, table *modules) (pubs []crypto.PublicKey, err error) {
	mod, err := table.find(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mod.release()) }()
	t, err := oneToken(mod, cfg.URI)
	if err != nil {
		return nil, nil
	}
	session, err := mod.openSession(t.slot, false)
	if err != nil {
		return nil, nil
	}
	defer func() { err = errors.Join(err, mod.closeSession(session)) }()
	found, err := objects(mod, session, URI{Object: cfg.URI.Object, ID: cfg.URI.ID}, ckoPublicKey, ckaKeyType)
	if err != nil {
		return nil, nil
	}
	for _, o := range found {
		kind, err := ulong(o.values[ckaKeyType])
		if err == nil {
			err = o.load(mod, session, publicParts.Get(kind))
		}
		pub, parseErr := parsePublic(kind, o.values)
		if errors.Join(err, parseErr) != nil {
			return nil, nil // it may be the one of the key
		}
		pubs = addPublic(pubs, pub)
	}
	return pubs, nil
}
