package file

import (
	"context"
	"crypto"
	"errors"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// List implements [keystore.Lister]: the private keys and certificates in the
// file that ref names. There is no list of all files, so that a ref without a
// path has no entries. Without its password an encrypted key is listed without
// its public half; a PKCS #12 file hides everything and fails with
// [signer.ErrPINRequired]. A part that cannot be read does not hide the others.
func (Backend) List(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	if ref == (keystore.Ref{Scheme: keystore.SchemeFile}) {
		return nil, nil
	}
	data, err := call.Read(ctx, ref)
	if err != nil {
		return nil, err
	}
	c, err := parse(data)
	if err != nil {
		return nil, err
	}
	pw := password(ctx, ref, call)
	entries, bad := make([]keystore.Entry, c.tpmKeys), c.bad
	for i := range entries {
		entries[i] = keystore.Entry{Ref: ref, Kind: keystore.KeyEntry}
	}
	for _, der := range c.keys {
		key, err := parseKey(der, pw)
		locked := errors.Is(err, signer.ErrPINRequired) || errors.Is(err, signer.ErrPINIncorrect)
		if err != nil && !(call.PIN == nil && locked) {
			bad = append(bad, err)
		}
		if err == nil || locked {
			entries = append(entries, keystore.Entry{Ref: ref, Kind: keystore.KeyEntry, Public: public(key)})
		}
	}
	certs, badCerts := parseCertificates(c.certs)
	bad = append(bad, badCerts...)
	if c.pfx != nil {
		key, chain, err := decodePFX(ctx, c.pfx, pw)
		if err != nil {
			bad = append(bad, err)
		} else {
			entries = append(entries, keystore.Entry{Ref: ref, Kind: keystore.KeyEntry, Public: public(key)})
			certs = append(certs, chain...)
		}
	}
	for _, cert := range certs {
		entries = append(entries, keystore.Entry{Ref: ref, Kind: keystore.CertificateEntry, Certificate: cert})
	}
	return entries, errors.Join(bad...)
}

// public returns the public half of a private key, nil for one of a type that
// cannot sign.
func public(key any) crypto.PublicKey {
	if s, ok := key.(crypto.Signer); ok {
		return s.Public()
	}
	return nil
}
