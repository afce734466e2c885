package winstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/keystore"
)

// A keyAlgorithm is an algorithm of CNG.
type keyAlgorithm struct {
	name string
	bits uint32 // 0: implied by the name
}

// keyAlgorithms has the CNG algorithm of each key type.
var keyAlgorithms = lookup.Table[keystore.KeyType, keyAlgorithm]{
	{keystore.RSA2048, keyAlgorithm{"RSA", 2048}},
	{keystore.RSA3072, keyAlgorithm{"RSA", 3072}},
	{keystore.RSA4096, keyAlgorithm{"RSA", 4096}},
	{keystore.P256, keyAlgorithm{"ECDSA_P256", 0}},
	{keystore.P384, keyAlgorithm{"ECDSA_P384", 0}},
	{keystore.P521, keyAlgorithm{"ECDSA_P521", 0}},
}

// Generate implements [keystore.Generator]. It creates a CNG key that cannot be
// exported. The attribute key names it, and the attribute provider, by default
// the TPM, stores it. A key type that the device does not support, such as P-521
// in most TPMs, fails with [errors.ErrUnsupported].
func (Backend) Generate(ctx context.Context, ref keystore.Ref, spec keystore.KeySpec, call keystore.Call) (keystore.Key, error) {
	cfg, err := configFor(ref, call)
	if err != nil {
		return nil, err
	}
	if cfg.Key == "" {
		return nil, &keystore.RefError{Ref: ref.String(), Err: errors.New(`attribute "key" is missing; it names the new key`)}
	}
	sys, err := newSystem()
	if err != nil {
		return nil, err
	}
	k, err := generate(ctx, sys, cfg, spec)
	if err != nil {
		return nil, err
	}
	return k, nil
}

func generate(ctx context.Context, sys system, cfg Config, spec keystore.KeySpec) (*Key, error) {
	algorithm, ok := keyAlgorithms.Find(spec.Type)
	if !ok {
		return nil, fmt.Errorf("key type %q: %w", spec.Type, errors.ErrUnsupported)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return bounded(ctx, func() (*Key, error) { return generateNow(ctx, sys, cfg, algorithm) }, func(k *Key) { _ = k.free() })
}

// generateNow is generate, but waits for Windows without a limit.
func generateNow(ctx context.Context, sys system, cfg Config, algorithm keyAlgorithm) (*Key, error) {
	prov, err := openProvider(sys, cfg.provider())
	if err != nil {
		return nil, err
	}
	h, err := sys.createKey(prov, algorithm.name, cfg.Key, cfg.machineFlag())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create key %q in %s: %w", cfg.Key, cfg.provider(), err), sys.freeObject(prov))
	}
	if err := sys.freeObject(prov); err != nil { // the key does not need it
		return nil, errors.Join(err, sys.freeObject(h))
	}
	if ctx.Err() != nil { // nobody waits any more
		return nil, errors.Join(context.Cause(ctx), sys.freeObject(h))
	}
	if err := finalize(sys, h, algorithm.bits, cfg.silentFlag()); err != nil {
		// Freeing a key that is not finalized discards it.
		return nil, errors.Join(fmt.Errorf("create key %q in %s: %w", cfg.Key, cfg.provider(), err), sys.freeObject(h))
	}
	return newNamedKey(sys, cfg, h)
}

func finalize(sys system, h keyHandle, bits, silentFlag uint32) error {
	if bits != 0 {
		if err := sys.setProperty(h, "Length", bits, 0); err != nil {
			return err
		}
	}
	// 0 is the default. A provider that never exports keys may not support
	// the property.
	if err := sys.setProperty(h, "Export Policy", 0, 0); err != nil && !errors.Is(err, nteNotSupported) {
		return err
	}
	return sys.finalizeKey(h, silentFlag)
}
