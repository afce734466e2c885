package file

import (
	"context"
	"crypto"
	"encoding/pem"
	"errors"

	"github.com/holdfast-dev/holdfast/keystore"
)

// List implements [keystore.Lister]: the private keys and certificates in the
// file that ref names. There is no list of all files, so that a ref without a
// path has no entries. Without a password an encrypted key is listed without
// its public half; a PKCS #12 file hides everything and fails with
// [signer.ErrPINRequired].
func (Backend) List(ctx context.Context, ref keystore.Ref, call keystore.Call) ([]keystore.Entry, error) {
	if ref == (keystore.Ref{Scheme: keystore.SchemeFile}) {
		return nil, nil
	}
	data, err := call.Read(ctx, ref)
	if err != nil {
		return nil, err
	}
	if isTPMKey(data) {
		return []keystore.Entry{{Ref: ref, Kind: keystore.KeyEntry}}, nil
	}
	c, err := parse(data)
	if err != nil {
		return nil, err
	}
	if c.pfx != nil {
		return listPFX(ctx, ref, c, password(ctx, ref, call))
	}
	certs, err := parseCertificates(c.certs)
	if err != nil {
		return nil, err
	}
	var entries []keystore.Entry
	for _, der := range c.keys {
		key, err := parseKey(der, password(ctx, ref, call))
		if err != nil && !(call.PIN == nil && errors.Is(err, errPasswordRequired)) {
			return nil, err
		}
		entries = append(entries, keystore.Entry{Ref: ref, Kind: keystore.KeyEntry, Public: public(key)})
	}
	for _, cert := range certs {
		entries = append(entries, keystore.Entry{Ref: ref, Kind: keystore.CertificateEntry, Certificate: cert})
	}
	return entries, nil
}

func listPFX(ctx context.Context, ref keystore.Ref, c *contents, pw passwordFunc) ([]keystore.Entry, error) {
	key, certs, err := decodePFX(ctx, c.pfx, pw)
	if err != nil {
		return nil, err
	}
	entries := []keystore.Entry{{Ref: ref, Kind: keystore.KeyEntry, Public: public(key)}}
	for _, cert := range certs {
		entries = append(entries, keystore.Entry{Ref: ref, Kind: keystore.CertificateEntry, Certificate: cert})
	}
	return entries, nil
}

// public returns the public half of a private key, nil for one of a type that
// cannot sign.
func public(key any) crypto.PublicKey {
	if s, ok := key.(crypto.Signer); ok {
		return s.Public()
	}
	return nil
}

// isTPMKey reports whether data is a key file of a TPM, whose private half is
// of use to that TPM alone.
func isTPMKey(data []byte) bool {
	block, _ := pem.Decode(data)
	return block != nil && block.Type == "TSS2 PRIVATE KEY"
}
