package keystore

import (
	"context"
	"crypto"
	"errors"
	"fmt"

	"github.com/holdfast-dev/holdfast/signer"
)

// An Attestation is what a device says about the origin of a key.
type Attestation struct {
	Public crypto.PublicKey
	// Device names the token with the key in printable text, as the token
	// describes itself; "" for a TPM.
	Device string

	// TPM is the evidence of a key in a TPM; nil: the key is in another
	// device.
	TPM *TPMAttestation

	// Claims are attributes of a key in a token. Nothing proves them: every
	// PKCS #11 module can say so.
	Claims []Claim
}

// A TPMAttestation is the evidence that a key is in a TPM. It proves nothing by
// itself: the proof is that this TPM decrypts a [Credential] for the key.
type TPMAttestation struct {
	Area   []byte // TPMT_PUBLIC of the key
	Policy []TPMPolicyStep

	EndorsementKey         crypto.PublicKey
	EndorsementCertificate []byte   // DER; nil: the TPM has none for this key
	EndorsementIssuers     [][]byte // DER; certificates of CAs in the TPM
}

// A TPMPolicyStep is a command of the policy that authorizes the use of a key in a
// TPM.
type TPMPolicyStep struct {
	// PCRs is the selection of TPM2_PolicyPCR, such as sha256:0,7; "" means
	// TPM2_PolicyAuthValue, for which the user gives the password.
	PCRs   string
	Digest []byte // of the values of the PCRs
}

// A Claim is a boolean attribute that a token reports, such as CKA_LOCAL.
type Claim struct {
	Attribute string
	Value     bool
}

// A Credential is a secret that only one TPM decrypts, and only if it contains
// one key: the result of TPM2_MakeCredential (TPM 2.0 Library, part 1, section 24).
type Credential struct {
	Key            crypto.PublicKey
	EndorsementKey crypto.PublicKey // of that TPM
	Blob           []byte           // TPMS_ID_OBJECT
	Secret         []byte           // the encrypted seed
}

// Optional capabilities of a Backend with devices that attest keys.
type (
	// An Attester reports the origin of its keys.
	Attester interface {
		Backend
		// Attest reports the origin of the key that ref names.
		// endorsementKey is the type of the endorsement key of a TPM; "":
		// the first one with a certificate, or else the first one that
		// the TPM supports.
		Attest(ctx context.Context, ref Ref, endorsementKey KeyType, call Call) (Attestation, error)
	}

	// An Activator decrypts credentials.
	Activator interface {
		Backend
		// Activate returns the secret in a credential for the key that ref
		// names. The caller owns it. The error wraps signer.ErrMismatch
		// if the credential is for another key or another device, or
		// was changed.
		Activate(ctx context.Context, ref Ref, c Credential, call Call) ([]byte, error)
	}
)

func noDevice() error {
	return signer.WithHint(fmt.Errorf("the key is not in a TPM: %w", errors.ErrUnsupported), "generate a key in the TPM, as in tpm:path=key.pem")
}

func noTPM() error {
	return signer.WithHint(fmt.Errorf("the certificate is wrapped for a key in a TPM: %w", errors.ErrUnsupported), "name the key for which the evidence was made, as in tpm:path=key.pem")
}

// Attest reports the origin of the key that ref names; see [Attester]. An error is
// a [*RefError] or a [*signer.Error].
func (s *Store) Attest(ctx context.Context, ref Ref, endorsementKey KeyType, opts Options) (Attestation, error) {
	const op = "attest"
	call := s.begin(opts)
	defer call.end()
	b, err := s.backend(ctx, ref, call)
	if err != nil {
		return Attestation{}, err
	}
	a, ok := b.(Attester)
	if !ok {
		return Attestation{}, wrap(b, op, ref, noDevice())
	}
	done, err := a.Attest(ctx, ref, endorsementKey, call)
	return done, wrap(b, op, ref, err)
}

// Activate returns the secret in a credential for the key that ref names; see
// [Activator]. An error is a [*RefError] or a [*signer.Error].
func (s *Store) Activate(ctx context.Context, ref Ref, c Credential, opts Options) ([]byte, error) {
	const op = "activate a credential for"
	call := s.begin(opts)
	defer call.end()
	b, err := s.backend(ctx, ref, call)
	if err != nil {
		return nil, err
	}
	a, ok := b.(Activator)
	if !ok {
		return nil, wrap(b, op, ref, noTPM())
	}
	secret, err := a.Activate(ctx, ref, c, call)
	return secret, wrap(b, op, ref, err)
}
