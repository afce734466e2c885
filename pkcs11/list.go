package pkcs11

import (
	"context"
	"errors"

	"github.com/holdfast-dev/holdfast/keystore"
)

// List implements [keystore.Lister]: tokens, private keys and certificates. It
// logs in to see private keys if there is a PIN to be had.
func (Backend) List(ctx context.Context, ref keystore.Ref, call keystore.Call) (entries []keystore.Entry, err error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	mod, err := openModule(cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mod.release()) }()
	all, err := tokens(mod, cfg.URI)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		some, err := listToken(ctx, cfg, t)
		if err != nil {
			return nil, err
		}
		entries = append(entries, some...)
	}
	return entries, nil
}

func listToken(ctx context.Context, cfg Config, t token) (_ []keystore.Entry, err error) {
	entry := func(u URI, kind keystore.EntryKind) keystore.Entry {
		return keystore.Entry{Ref: keystore.Ref{Scheme: "pkcs11", Rest: u.in(cfg.URI).String()[len("pkcs11:"):]}, Kind: kind}
	}
	session, err := t.mod.openSession(t.slot, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.mod.closeSession(session)) }()
	if cfg.PIN != nil {
		// The PIN of the token before may have taken a while.
		if t.info, err = t.mod.tokenInfo(t.slot); err != nil {
			return nil, err
		}
		d := newAuthenticator(cfg).begin()
		defer d.end()
		if err := d.login(ctx, t, session); err != nil {
			return nil, err
		}
	}
	entries := []keystore.Entry{entry(t.uri(), keystore.TokenEntry)}
	keys, err := objects(t.mod, session, cfg.URI, ckoPrivateKey, keyAttributes...)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		e := entry(k.uri(t), keystore.KeyEntry)
		if pub, err := publicFromToken(t.mod, session, k); err == nil {
			e.Public = pub
		}
		entries = append(entries, e)
	}
	certs, found, err := certificates(t.mod, session, cfg.URI)
	if err != nil {
		return nil, err
	}
	for i, c := range certs {
		e := entry(found[i].uri(t), keystore.CertificateEntry)
		e.Certificate = c
		entries = append(entries, e)
	}
	return entries, nil
}
