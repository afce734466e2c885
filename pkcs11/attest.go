package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// claimed are the attributes that say where a private key comes from (PKCS #11
// v2.40, sections 4.7 and 4.9), in the order of [keystore.Attestation].
var claimed = []struct {
	kind uint
	name string
}{
	{ckaLocal, "CKA_LOCAL"},
	{ckaNeverExtractable, "CKA_NEVER_EXTRACTABLE"},
	{ckaAlwaysSensitive, "CKA_ALWAYS_SENSITIVE"},
}

// Attest implements [keystore.Attester]. It finds the key as Open does, asks for a
// PIN only if Open does, and makes no signature, except where Open needs one to
// find the key. Nothing proves the claims, nor that the private key belongs to the
// public key. The claims do not contain an attribute that the module does not know.
// endorsementKey must be "".
func (Backend) Attest(ctx context.Context, ref keystore.Ref, endorsementKey keystore.KeyType, call keystore.Call) (keystore.Attestation, error) {
	if endorsementKey != "" {
		return keystore.Attestation{}, signer.WithHint(fmt.Errorf("a token has no endorsement key: %w", errors.ErrUnsupported), "only a TPM has one: leave out its type")
	}
	cfg, err := configFor(ref, call)
	if err != nil {
		return keystore.Attestation{}, err
	}
	return attest(ctx, cfg, &loaded)
}

func attest(ctx context.Context, cfg Config, table *modules) (keystore.Attestation, error) {
	return bounded(ctx, cfg.in(table), func() (keystore.Attestation, error) { return attestNow(ctx, cfg, table) }, nil)
}

// attestNow is attest, but waits for the module without a limit.
func attestNow(ctx context.Context, cfg Config, table *modules) (keystore.Attestation, error) {
	k, err := openNow(ctx, cfg, table)
	if err != nil {
		return keystore.Attestation{}, err
	}
	claims, err := k.claims(ctx)
	if err = errors.Join(err, k.Close()); err != nil {
		return keystore.Attestation{}, err
	}
	return keystore.Attestation{Public: k.pub, Device: k.conn.Load().token.info.text(), Claims: claims}, nil
}

// claims reads the attributes of k that say where it comes from.
func (k *Key) claims(ctx context.Context) ([]keystore.Claim, error) {
	kinds := make([]uint, len(claimed))
	for i, a := range claimed {
		kinds[i] = a.kind
	}
	conn := k.conn.Load()
	values, err := k.read(ctx, conn, kinds)
	if err != nil {
		return nil, conn.token.wrap(err)
	}
	var claims []keystore.Claim
	for _, a := range claimed {
		switch string(values[a.kind]) { // CK_BBOOL; other values claim nothing
		case "\x00", "\x01":
			claims = append(claims, keystore.Claim{Attribute: a.name, Value: isTrue(values[a.kind])})
		}
	}
	return claims, nil
}

// read reads attributes of the private key.
func (k *Key) read(ctx context.Context, conn *connection, kinds []uint) (values map[uint][]byte, err error) {
	session, err := conn.pool.get(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { conn.pool.put(session, err) }()
	if conn.card {
		if err := k.mod.card.lock(ctx); err != nil {
			return nil, err
		}
		defer k.mod.card.unlock()
	}
	return k.mod.attributes(session, conn.key.handle, kinds...)
}

// text describes the token in printable text. The fields of CK_TOKEN_INFO have at
// most 32 bytes.
func (i tokenInfo) text() string {
	plain := func(s string) string {
		quoted := quote(trim(s))
		return quoted[1 : len(quoted)-1]
	}
	parts := []string{"token " + quote(trim(i.label))}
	if maker := strings.TrimSpace(plain(i.manufacturer) + " " + plain(i.model)); maker != "" {
		parts = append(parts, maker)
	}
	if serial := plain(i.serial); serial != "" {
		parts = append(parts, "serial number "+serial)
	}
	return strings.Join(parts, ", ")
}
