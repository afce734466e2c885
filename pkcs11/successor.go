package pkcs11

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// GenerateSuccessor implements [keystore.Rekeyer]. The new key has the label of the
// old one and an ID that is derived from the public key of the old one. ref must name
// the old key by its label alone, so that it also names the new one: see
// [successorOf].
func (Backend) GenerateSuccessor(ctx context.Context, ref keystore.Ref, spec keystore.KeySpec, old crypto.PublicKey, call keystore.Call) (keystore.Key, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	return generateSuccessor(ctx, cfg, spec, old, &loaded)
}

func generateSuccessor(ctx context.Context, cfg Config, spec keystore.KeySpec, old crypto.PublicKey, table *modules) (keystore.Key, error) {
	gen, ok := keyGeneratorFor(spec.Type)
	if !ok {
		return nil, fmt.Errorf("key type %q: %w", spec.Type, errors.ErrUnsupported)
	}
	if cfg.URI.Object == "" || cfg.URI.ID != "" {
		return nil, signer.WithHint(fmt.Errorf("the reference does not name the key by its label alone, so it does not name a new key: %w", errors.ErrUnsupported),
			"use a reference with object= and without id=, as in pkcs11:token=TOKEN;object=LABEL")
	}
	der, err := x509.MarshalPKIXPublicKey(old)
	if err != nil {
		return nil, err
	}
	cfg.URI.Type, cfg.Certificates = "", nil // those are of the old key
	var key *Key
	for n := byte(0); ; n++ {
		id := sha256.Sum256(append(der, n))
		cfg.URI.ID = string(id[:idSize])
		if key, err = generate(ctx, cfg, gen, table); errors.Is(err, fs.ErrExist) {
			key, err = open(ctx, cfg, table)
		}
		if !errors.Is(err, errNoPublicKey) || n+1 == maxUnusable {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return key, nil
}

// maxUnusable bounds the new keys without a public key, which a generation leaves that
// was interrupted in the module.
const maxUnusable = 8

// successorOf returns the key that has taken the place of the others: if the
// certificates of the keys have the same subject, the one whose certificate was issued
// last. Keys without a certificate, such as one that is to take the place later, do not
// count. It returns nil if there is no such key.
//
// A key whose public key the token does not provide has no certificate unless one has its
// ID.
func successorOf(mod module, session uint, keys []object, certs []*x509.Certificate, certObjects []object, now time.Time) []object {
	var newest *x509.Certificate
	var found []object
	for _, k := range keys {
		pub, err := publicFromToken(mod, session, k)
		if err != nil || pub == nil {
			if slices.ContainsFunc(certObjects, func(c object) bool { return bytes.Equal(c.id, k.id) }) {
				return nil
			}
			continue
		}
		chain, err := signer.Chain(pub, certs, now)
		if err != nil {
			continue
		}
		leaf := chain[0]
		switch {
		case newest == nil:
		case !bytes.Equal(leaf.RawSubject, newest.RawSubject):
			return nil
		default:
			switch order := compareIssue(leaf, newest); {
			case order < 0:
				continue
			case order == 0:
				return nil
			}
		}
		newest, found = leaf, []object{k}
	}
	return found
}

// compareIssue returns a positive number if a was issued after b, or at the same time
// and expires later. The serial numbers only make the order complete. A certificate that
// has ended still counts: the key of the one before must not come back.
func compareIssue(a, b *x509.Certificate) int {
	return cmp.Or(a.NotBefore.Compare(b.NotBefore), a.NotAfter.Compare(b.NotAfter), a.SerialNumber.Cmp(b.SerialNumber))
}
