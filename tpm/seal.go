package tpm

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// maxSealed is the size of the largest secret that every TPM can seal, in bytes
// (TPM 2.0 Library, part 2, annex B: MAX_SYM_DATA).
const maxSealed = 128

// Unseal returns the secret in a file of sealed data. The caller owns the
// result. The TPM encrypts the secret on the bus.
func Unseal(ctx context.Context, cfg Config) ([]byte, error) { return unseal(ctx, cfg, dial) }

func unseal(ctx context.Context, cfg Config, dial dialer) ([]byte, error) {
	return bounded(ctx, cfg.Device, func() ([]byte, error) { return unsealNow(ctx, cfg, dial) }, clearLate)
}

// clearLate clears a secret that nobody waits for any more.
func clearLate(secret []byte) { clear(secret) }

func unsealNow(ctx context.Context, cfg Config, dial dialer) ([]byte, error) {
	if cfg.Handle != 0 {
		return nil, fmt.Errorf("sealed data at a persistent handle: %w", errors.ErrUnsupported)
	}
	ld, err := newLoader(ctx, cfg, dial)
	if err != nil {
		return nil, err
	}
	if !isSealed(ld.area) {
		return nil, fmt.Errorf("contains a key, not sealed data: %w", errors.ErrUnsupported)
	}
	ld.secretResponse = true
	ld.mu.Lock()
	defer ld.mu.Unlock()
	defer ld.wipe()
	var secret []byte
	err = ld.use(ctx, func(l *loadedObject) error {
		object, err := l.authHandle()
		if err != nil {
			return err
		}
		answer, err := tpm2.Unseal{ItemHandle: object}.Execute(l, l.encryption...)
		if err != nil {
			return explain("TPM2_Unseal", err)
		}
		secret = answer.OutData.Buffer
		return nil
	})
	return secret, ld.explainLockout(ctx, err)
}

// Seal returns a file of sealed data, a TSS2 PRIVATE KEY block. Only the TPM of
// cfg can unseal it. Seal borrows secret, which has 1 to 128 bytes, and
// encrypts it on the bus.
func Seal(ctx context.Context, cfg CreateConfig, secret []byte) ([]byte, error) {
	return seal(ctx, cfg, secret, dial)
}

func seal(ctx context.Context, cfg CreateConfig, secret []byte, dial dialer) ([]byte, error) {
	if len(secret) == 0 || len(secret) > maxSealed {
		return nil, fmt.Errorf("secret of %d bytes: a TPM can seal 1 to %d bytes", len(secret), maxSealed)
	}
	f, err := create(ctx, cfg, tpm2.TPMTPublic{
		Type:             tpm2.TPMAlgKeyedHash,
		NameAlg:          tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true},
		Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{Scheme: tpm2.TPMTKeyedHashScheme{Scheme: tpm2.TPMAlgNull}}),
		Unique:           tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{}),
	}, secret, dial)
	if err != nil {
		return nil, err
	}
	f.kind = oidSealed
	return f.marshal()
}
