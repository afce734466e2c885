package tpm

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// Activate implements [keystore.Activator].
func (Backend) Activate(ctx context.Context, ref keystore.Ref, c keystore.Credential, call keystore.Call) ([]byte, error) {
	cfg, err := configFor(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	return Activate(ctx, cfg, c)
}

// Activate returns the secret in a credential for the key of cfg, which the caller
// owns. It needs the password of the key, but does not require that the policy of
// the key is satisfied. The TPM encrypts the secret on the bus.
func Activate(ctx context.Context, cfg Config, c keystore.Credential) ([]byte, error) {
	return activate(ctx, cfg, c, dial)
}

func activate(ctx context.Context, cfg Config, c keystore.Credential, dial dialer) ([]byte, error) {
	return bounded(ctx, cfg.Device, func() ([]byte, error) { return activateNow(ctx, cfg, c, dial) }, clearLate)
}

func activateNow(ctx context.Context, cfg Config, c keystore.Credential, dial dialer) ([]byte, error) {
	kind, _ := keystore.KeyTypeOf(c.EndorsementKey)
	types, err := endorsementTypesOf(kind)
	if err != nil || kind == "" {
		return nil, fmt.Errorf("the certificate is wrapped for an endorsement key of an unknown type: %w", errors.ErrUnsupported)
	}
	if len(c.Blob) > maxCredential || len(c.Secret) > maxCredential {
		return nil, changedCredential()
	}
	ld, err := newLoader(ctx, cfg, dial)
	if err != nil {
		return nil, err
	}
	switch key, err := signingKey(ld.area); {
	case err != nil:
		return nil, err
	case !signer.SamePublicKey(key.pub, c.Key):
		return nil, otherKey(c.Key)
	}
	if ld.area.ObjectAttributes.AdminWithPolicy {
		return nil, fmt.Errorf("the key requires a policy for TPM2_ActivateCredential (adminWithPolicy): %w", errors.ErrUnsupported)
	}
	ld.policy = nil // it is for signatures: TPM2_ActivateCredential has the role ADMIN
	ld.endorse()
	ld.mu.Lock()
	defer ld.mu.Unlock()
	defer ld.wipe()
	var secret []byte
	err = ld.use(ctx, func(l *loadedObject) (err error) {
		secret, err = ld.activate(l, types[0], c)
		return err
	})
	return secret, ld.explainLockout(ctx, err)
}

// maxCredential bounds each part of a credential, in bytes: an encrypted seed is as
// long as the modulus of an RSA key.
const maxCredential = 1 << 10

func changedCredential() error {
	return signer.WithHint(mismatch("the TPM does not decrypt the credential: it is for another key, or was changed"), "copy the file again from the CA")
}

func (ld *loader) activate(l *loadedObject, t endorsementType, c keystore.Credential) ([]byte, error) {
	ek, pub, err := ld.endorsementKey(l, t, c.EndorsementKey)
	if err != nil {
		return nil, err
	}
	if !signer.SamePublicKey(pub, c.EndorsementKey) {
		return nil, signer.WithHint(mismatch("the certificate is wrapped for another TPM"), "install it on the machine on which the evidence was made; if the TPM was cleared, make new evidence")
	}
	session, err := ld.endorsementSession(l, ek)
	if err != nil {
		return nil, err
	}
	key, err := l.authHandle()
	if err != nil {
		return nil, err
	}
	answer, err := tpm2.ActivateCredential{
		ActivateHandle: key,
		KeyHandle:      tpm2.AuthHandle{Handle: ek.handle, Name: ek.name, Auth: session},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.Blob},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: c.Secret},
	}.Execute(l)
	if errors.Is(err, tpm2.TPMRCFailure) { // of libtpms if the encrypted seed was changed
		if _, other := handles(l.device, firstEndorsement); other == nil {
			return nil, changedCredential()
		}
	}
	if err != nil {
		return nil, explainActivation(err)
	}
	return answer.CertInfo.Buffer, nil
}

// explainActivation converts an error of TPM2_ActivateCredential (part 3, section
// 12.5.3). A damaged credential has one of several codes, depending on where it is
// damaged.
func explainActivation(err error) error {
	err = explain("TPM2_ActivateCredential", err)
	for _, code := range []tpm2.TPMRC{tpm2.TPMRCIntegrity, tpm2.TPMRCSize, tpm2.TPMRCValue, tpm2.TPMRCInsufficient, tpm2.TPMRCECCPoint, tpm2.TPMRCKey} {
		if errors.Is(err, Error(code)) {
			return changedCredential()
		}
	}
	if errors.Is(err, Error(tpm2.TPMRCAuthUnavailable)) {
		return mismatch("the TPM has only the public part of the key")
	}
	return err
}

// A mismatch is an error about a credential that the key cannot decrypt. It matches
// [signer.ErrMismatch], whose text is about certificates.
type mismatch string

func (m mismatch) Error() string        { return string(m) }
func (m mismatch) Is(target error) bool { return target == signer.ErrMismatch }

// otherKey returns the error about a credential for the key pub.
func otherKey(pub crypto.PublicKey) error {
	const text = "the certificate is wrapped for another key"
	const hint = "name the key for which the evidence was made, on its machine"
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return signer.WithHint(mismatch(text), hint)
	}
	return signer.WithHint(mismatch(fmt.Sprintf("%s (SHA-256 of its public key: %x)", text, sha256.Sum256(spki))), hint)
}
