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

// Unseal returns the secret in a file of sealed data, which belongs to the
// caller. It crosses the bus encrypted.
func Unseal(ctx context.Context, cfg Config) ([]byte, error) { return unseal(ctx, cfg, dial) }

func unseal(ctx context.Context, cfg Config, dial dialer) ([]byte, error) {
	if cfg.Handle != 0 {
		return nil, fmt.Errorf("sealed data is read from its file, not by its handle: %w", errors.ErrUnsupported)
	}
	r, err := newLoader(ctx, cfg, dial)
	if err != nil {
		return nil, err
	}
	if !isSealed(r.area) {
		return nil, fmt.Errorf("holds a key, not sealed data: %w", errors.ErrUnsupported)
	}
	r.secretResponse = true
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.wipe()
	var secret []byte
	err = r.use(ctx, func(l *loadedObject) error {
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
	return secret, r.explainLockout(ctx, err)
}

// Seal returns a file of sealed data that only the TPM of cfg can open: a TSS2
// PRIVATE KEY block. It borrows secret, of at most 128 bytes, which crosses the
// bus encrypted.
func Seal(ctx context.Context, cfg CreateConfig, secret []byte) ([]byte, error) {
	return seal(ctx, cfg, secret, dial)
}

func seal(ctx context.Context, cfg CreateConfig, secret []byte, dial dialer) ([]byte, error) {
	if len(secret) == 0 || len(secret) > maxSealed {
		return nil, fmt.Errorf("a TPM seals 1 to %d bytes, not %d", maxSealed, len(secret))
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
