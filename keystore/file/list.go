package file

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/keystore"
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
	c, err := read(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	return bounded(ctx, func() ([]keystore.Entry, error) { return c.list(ctx, ref, call) }, nil)
}

func (c *contents) list(ctx context.Context, ref keystore.Ref, call keystore.Call) (_ []keystore.Entry, err error) {
	pw := password(ctx, ref, call)
	entries, bad := make([]keystore.Entry, c.tpmKeys), slices.Concat(c.bad, c.otherKeys, c.ignored)
	for i := range entries {
		entries[i] = keystore.Entry{Ref: ref, Kind: keystore.KeyEntry}
	}
	keys, parts := c.keys, c.certs
	if c.pfx != nil {
		if keys, parts, err = decodePFX(ctx, c.pfx, pw, true); err != nil {
			bad = append(bad, err)
		}
	}
	if len(keys) > maxKeys || workOf(keys) > maxIterations {
		bad = append(bad, fmt.Errorf("contains %d private keys, which would take too long to decode", len(keys)))
		keys = nil
	}
	pw, forget := remember(pw)
	defer forget()
	for _, part := range keys {
		key, err := part.open(ctx, pw)
		locked := isLocked(err)
		if err != nil && !(call.PIN == nil && locked) {
			bad = append(bad, err)
		}
		if err == nil || locked {
			entries = append(entries, keystore.Entry{Ref: ref, Kind: keystore.KeyEntry, Public: public(key), Plaintext: (c.pfx == nil || part.bare) && !part.encrypted(), Encrypted: locked})
		}
	}
	certs, badCerts := parseCertificates(parts)
	bad = append(bad, badCerts...)
	for _, cert := range certs {
		entries = append(entries, keystore.Entry{Ref: ref, Kind: keystore.KindOf(cert), Certificate: cert})
	}
	return entries, withName(errors.Join(bad...), ref, c.isBase64)
}

// public returns the public half of a private key, nil for none.
func public(key crypto.Signer) crypto.PublicKey {
	if key == nil {
		return nil
	}
	return key.Public()
}
