package pkcs11

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/holdfast-dev/holdfast/keystore"
)

// A keyGenerator contains the parameters of C_GenerateKeyPair for a key type.
type keyGenerator struct {
	mechanism uint
	keyType   uint
	params    []attribute // for the template of the public key
}

// keyGeneratorFor returns what makes a key of a type.
func keyGeneratorFor(t keystore.KeyType) (gen keyGenerator, ok bool) {
	switch t {
	case keystore.RSA2048:
		return rsaGenerator(2048), true
	case keystore.RSA3072:
		return rsaGenerator(3072), true
	case keystore.RSA4096:
		return rsaGenerator(4096), true
	case keystore.P256:
		return ecGenerator(ckmECKeyPairGen, ckkEC, p256OID), true
	case keystore.P384:
		return ecGenerator(ckmECKeyPairGen, ckkEC, p384OID), true
	case keystore.P521:
		return ecGenerator(ckmECKeyPairGen, ckkEC, p521OID), true
	case keystore.Ed25519:
		// The curve name as a PrintableString, which modules accepted before
		// they accepted the object identifier (PKCS #11 v3.0, section 2.3.5).
		return ecGenerator(ckmEdwardsKeyPairGen, ckkECEdwards, "\x13\x0cedwards25519"), true
	}
	return keyGenerator{}, false
}

func rsaGenerator(bits uint) keyGenerator {
	return keyGenerator{ckmRSAKeyPairGen, ckkRSA, []attribute{{ckaModulusBits, bits}, {ckaPublicExponent, []byte{1, 0, 1}}}}
}

func ecGenerator(mechanism, keyType uint, curve string) keyGenerator {
	return keyGenerator{mechanism, keyType, []attribute{{ckaECParams, []byte(curve)}}}
}

// idSize is the size of the IDs of new keys, in bytes.
const idSize = 8

// Generate implements [keystore.Generator]. It generates a key pair on the
// token with the label and ID of ref, which must contain at least one of them.
// Without an ID it uses a random one. The private key is sensitive and not
// extractable. If a key with the same label and ID exists, the error is
// [fs.ErrExist].
func (Backend) Generate(ctx context.Context, ref keystore.Ref, spec keystore.KeySpec, call keystore.Call) (keystore.Key, error) {
	gen, ok := keyGeneratorFor(spec.Type)
	if !ok {
		return nil, fmt.Errorf("key type %q: %w", spec.Type, errors.ErrUnsupported)
	}
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	if cfg.URI.Object == "" && cfg.URI.ID == "" {
		return nil, &keystore.RefError{Ref: ref.String(), Err: errors.New("contains neither object= nor id= for the new key")}
	}
	key, err := generate(ctx, cfg, gen, &loaded)
	if err != nil {
		return nil, err
	}
	return key, nil
}

func generate(ctx context.Context, cfg Config, gen keyGenerator, table *modules) (*Key, error) {
	return bounded(ctx, cfg.in(table), func() (*Key, error) { return generateNow(ctx, cfg, gen, table) }, func(k *Key) { _ = k.Close() })
}

// generateNow is generate, but waits for the module without a limit.
func generateNow(ctx context.Context, cfg Config, gen keyGenerator, table *modules) (key *Key, err error) {
	err = withSession(ctx, cfg, table, func(t token, session uint, _ *dialog) error {
		existing, err := objects(t.mod, session, URI{Object: cfg.URI.Object, ID: cfg.URI.ID}, ckoPrivateKey)
		if err != nil {
			return err
		}
		if len(existing) > 0 {
			return &existsError{listObjects(t, existing, cfg.URI)}
		}
		if cfg.URI.ID == "" {
			id := make([]byte, idSize)
			_, _ = rand.Read(id) // never fails
			cfg.URI.ID = string(id)
		}
		if ctx.Err() != nil { // nobody waits any more
			return context.Cause(ctx)
		}
		if err := gen.generate(t.mod, session, cfg.URI); err != nil {
			return err
		}
		// While this session is open, the user stays logged in, so open does
		// not ask for the PIN again.
		key, err = openNow(ctx, cfg, table)
		if errors.Is(err, ckrSessionCount) { // the token has only this session
			return nil
		}
		return err
	})
	switch {
	case err != nil && key != nil:
		return nil, errors.Join(err, key.Close())
	case err != nil:
		return nil, err
	case key == nil:
		return openNow(ctx, cfg, table)
	}
	return key, nil
}

// An existsError reports that keys with the name of the new key exist. It wraps
// [fs.ErrExist].
type existsError struct{ uris string }

func (e *existsError) Error() string { return "a key with this name already exists" }
func (e *existsError) Unwrap() error { return fs.ErrExist }
func (e *existsError) Hint() string {
	return "choose a different object= or id=, or use the existing key: " + e.uris
}

func (g keyGenerator) generate(mod module, session uint, u URI) error {
	name := []attribute{{ckaToken, true}, {ckaLabel, u.Object}, {ckaID, []byte(u.ID)}}
	public := append([]attribute{
		{ckaClass, uint(ckoPublicKey)}, {ckaKeyType, g.keyType}, {ckaVerify, true},
	}, append(name, g.params...)...)
	private := append([]attribute{
		{ckaClass, uint(ckoPrivateKey)}, {ckaKeyType, g.keyType}, {ckaSign, true},
		{ckaPrivate, true}, {ckaSensitive, true}, {ckaExtractable, false},
	}, name...)
	_, _, err := mod.generateKeyPair(session, mechanism{kind: g.mechanism}, public, private)
	return err
}

// withSession calls f with a read/write session on the token of cfg, after
// login, and the dialog of the login.
func withSession(ctx context.Context, cfg Config, table *modules, f func(t token, session uint, d *dialog) error) (err error) {
	mod, err := table.find(cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mod.release()) }()
	t, err := oneToken(mod, cfg.URI)
	if err != nil {
		return mod.explain(err)
	}
	session, err := mod.openSession(t.slot, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mod.closeSession(session)) }()
	d := newAuthenticator(cfg).begin(ctx)
	defer d.end()
	if err := d.login(t, session); err != nil {
		return err
	}
	return f(t, session, d)
}
