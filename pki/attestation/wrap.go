package attestation

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// A wrappedFile is a certificate that only one TPM with one key decrypts.
type wrappedFile struct {
	header
	EndorsementKey []byte `json:"endorsement_key"` // SubjectPublicKeyInfo
	PublicKey      []byte `json:"public_key"`      // SubjectPublicKeyInfo of the key
	Evidence       string `json:"evidence_sha256"`
	Blob           []byte `json:"credential_blob"`  // TPMS_ID_OBJECT
	Secret         []byte `json:"encrypted_secret"` // the encrypted seed
	Certificate    []byte `json:"certificate,omitempty"`
}

// associated returns what the encryption of the certificate authenticates.
func (f wrappedFile) associated() ([]byte, error) {
	f.Certificate = nil
	return json.Marshal(f)
}

// secretSize is the size of the secret in a credential, in bytes: a key of AES-256.
const secretSize = 32

// A Wrapping encrypts one certificate. [Evidence.Wrap] makes it.
type Wrapping struct {
	file   wrappedFile
	secret []byte
}

// Wrap prepares the encryption of a certificate for the key that e describes, before
// the certificate is issued. It fails with [errors.ErrUnsupported] if the endorsement
// key cannot be used.
func (e *Evidence) Wrap(rand io.Reader) (*Wrapping, error) {
	// TPM2_MakeCredential encrypts with AES in CFB mode (part 1, section 24.4).
	if fips140.Enforced() {
		return nil, signer.WithHint(fmt.Errorf("encryption for a TPM, with AES in CFB mode, is not allowed in FIPS mode: %w", errors.ErrUnsupported),
			"issue the certificate in the mode GODEBUG=fips140=on")
	}
	area, err := e.endorsementArea()
	if err != nil {
		return nil, err
	}
	to, err := tpm2.ImportEncapsulationKey(&area)
	if err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	name, err := tpm2.ObjectName(&e.area)
	if err != nil {
		return nil, fmt.Errorf("name of the key: %w", err)
	}
	spki, err := x509.MarshalPKIXPublicKey(e.key)
	if err != nil {
		return nil, err
	}
	w := &Wrapping{secret: make([]byte, secretSize)}
	if _, err := io.ReadFull(rand, w.secret); err != nil {
		return nil, err
	}
	w.file = wrappedFile{header: header{wrappedType, Version}, EndorsementKey: e.parts.EndorsementKey, PublicKey: spki, Evidence: e.Digest()}
	if w.file.Blob, w.file.Secret, err = tpm2.CreateCredential(rand, to, name.Buffer, w.secret); err != nil {
		return nil, fmt.Errorf("endorsement key: %w", err)
	}
	return w, nil
}

// Seal returns the file with an encrypted certificate and those of its issuers, in
// PEM. It must be called only once.
func (w *Wrapping) Seal(chain []byte) ([]byte, error) {
	aead, err := newAEAD(w.secret)
	if err != nil {
		return nil, err
	}
	associated, err := w.file.associated()
	if err != nil {
		return nil, err
	}
	file := w.file
	file.Certificate = aead.Seal(nil, nil, chain, associated)
	return marshal(file)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// A Wrapped is a wrapped certificate. It is immutable and safe for concurrent use.
type Wrapped struct {
	file             wrappedFile
	key, endorsement crypto.PublicKey
}

// ParseWrapped parses a file. The error wraps [ErrMalformed] or [ErrVersion].
func ParseWrapped(data []byte) (*Wrapped, error) {
	var w Wrapped
	if err := parse(data, wrappedType, &w.file); err != nil {
		return nil, err
	}
	var err error
	if w.key, err = x509.ParsePKIXPublicKey(w.file.PublicKey); err == nil {
		w.endorsement, err = x509.ParsePKIXPublicKey(w.file.EndorsementKey)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: a public key in it is not a SubjectPublicKeyInfo", ErrMalformed)
	}
	return &w, nil
}

// Key returns the public key of the key for which the certificate is wrapped.
func (w *Wrapped) Key() crypto.PublicKey { return w.key }

// EndorsementKey returns the endorsement key of the TPM that can unwrap it.
func (w *Wrapped) EndorsementKey() crypto.PublicKey { return w.endorsement }

// Credential returns the parameters of TPM2_ActivateCredential: the TPMS_ID_OBJECT
// and the encrypted seed.
func (w *Wrapped) Credential() (blob, secret []byte) { return w.file.Blob, w.file.Secret }

// Open returns the certificate and those of its issuers, in PEM. secret is the one in
// the credential. The error wraps [signer.ErrMismatch] if the file was changed, or
// the secret is another one.
func (w *Wrapped) Open(secret []byte) ([]byte, error) {
	changed := signer.WithHint(mismatch("the wrapped certificate was changed"), "copy the file again from the CA")
	associated, err := w.file.associated()
	if err != nil || len(secret) != secretSize {
		return nil, errors.Join(err, changed)
	}
	aead, err := newAEAD(secret)
	if err != nil {
		return nil, err
	}
	chain, err := aead.Open(nil, nil, w.file.Certificate, associated)
	if err != nil {
		return nil, changed
	}
	return chain, nil
}

// A mismatch is an error that matches [signer.ErrMismatch], whose text is about
// certificates.
type mismatch string

func (m mismatch) Error() string        { return string(m) }
func (m mismatch) Is(target error) bool { return target == signer.ErrMismatch }
