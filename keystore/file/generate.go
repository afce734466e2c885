package file

import (
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/holdfast-dev/holdfast/internal/atomicfile"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
)

// generators make keys, by their type.
var generators = lookup.Table[keystore.KeyType, func() (crypto.Signer, error)]{
	{keystore.RSA2048, func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }},
	{keystore.RSA3072, func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 3072) }},
	{keystore.RSA4096, func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 4096) }},
	{keystore.P256, func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
	{keystore.P384, func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }},
	{keystore.P521, func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) }},
	{keystore.Ed25519, func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}},
}

// Generate implements [keystore.Generator]. It creates a file with a key in PKCS
// #8 that only its owner can read. If call.PIN answers an optional prompt with a
// password, the key is encrypted with it.
func (Backend) Generate(ctx context.Context, ref keystore.Ref, spec keystore.KeySpec, call keystore.Call) (keystore.Key, error) {
	if ref.Scheme != keystore.SchemeFile {
		return nil, signer.WithHint(fmt.Errorf("keys are written only to files: %w", errors.ErrUnsupported), "name a new file")
	}
	generate, ok := generators.Find(spec.Type)
	if !ok {
		return nil, fmt.Errorf("key type %q: %w", spec.Type, errors.ErrUnsupported)
	}
	made, err := bounded(ctx, func() (encodedKey, error) { return generateKey(ctx, generate, ref, call) }, encodedKey.forget)
	if err != nil {
		return nil, err
	}
	defer made.forget()
	if err := writeNew(ref.Rest, made.text); err != nil {
		return nil, err
	}
	s, ok := signer.FromKey(made.key).(signer.ContextSigner)
	if !ok {
		return nil, errors.New("a key in memory does not sign with a context")
	}
	return newKey{s, ref}, nil
}

// An encodedKey is a key and the contents of its file.
type encodedKey struct {
	key  crypto.Signer
	text []byte
}

func (k encodedKey) forget() { clear(k.text) }

// generateKey asks for the password and makes a key.
func generateKey(ctx context.Context, generate func() (crypto.Signer, error), ref keystore.Ref, call keystore.Call) (k encodedKey, err error) {
	var password []byte
	if call.PIN != nil {
		if password, err = call.PIN(ctx, keystore.Prompt{What: keystore.AskPassword, Ref: ref, Optional: true}); err != nil {
			return k, err
		}
		defer clear(password)
	}
	if k.key, err = generate(); err != nil {
		return k, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return k, err
	}
	defer clear(der)
	block := &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	if len(password) > 0 {
		block.Type = "ENCRYPTED PRIVATE KEY"
		if block.Bytes, err = encryptPKCS8(der, password); err != nil {
			return k, err
		}
	}
	k.text = pem.EncodeToMemory(block)
	return k, nil
}

// A newKey is a key that Generate made. It has no certificates.
type newKey struct {
	signer.ContextSigner
	ref keystore.Ref
}

// Ref implements [keystore.Key].
func (k newKey) Ref() keystore.Ref { return k.ref }

// writeNew creates a file.
func writeNew(path string, data []byte) error {
	f := atomicfile.File{Name: path}
	err := f.Create(data)
	if errors.Is(err, fs.ErrExist) {
		return signer.WithHint(fmt.Errorf("%w", fs.ErrExist), "choose a new name; a key is never overwritten")
	}
	var inPath *fs.PathError
	if errors.As(err, &inPath) { // which names the temporary file
		return &fs.PathError{Op: "create", Path: path, Err: inPath.Err}
	}
	return errors.Join(err, f.SyncFolder())
}

// newIterations is the number of iterations of PBKDF2 for new files, which takes
// a fraction of a second.
//
// Source: OWASP Password Storage Cheat Sheet, for PBKDF2-HMAC-SHA256.
const newIterations = 600_000

// encryptPKCS8 returns an EncryptedPrivateKeyInfo (RFC 5958, section 3) with
// PBKDF2 and AES-256 in CBC mode (RFC 8018), which OpenSSL reads and FIPS 140
// permits.
func encryptPKCS8(plain, password []byte) ([]byte, error) {
	salt, iv := make([]byte, 16), make([]byte, aes.BlockSize)
	_, _ = rand.Read(salt) // never fails
	_, _ = rand.Read(iv)
	key, err := pbkdf2.Key(sha256.New, string(password), salt, newIterations, 32)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize // RFC 8018, section 6.1.1
	data := make([]byte, len(plain)+padding)
	for i := copy(data, plain); i < len(data); i++ {
		data[i] = byte(padding)
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)

	null := asn1.NullRawValue
	kdf, err := algorithm(oidPBKDF2, pbkdf2Params{Salt: salt, Iterations: newIterations,
		PRF: pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256, Parameters: null}})
	if err != nil {
		return nil, err
	}
	scheme, err := algorithm(oidAES256CBC, iv)
	if err != nil {
		return nil, err
	}
	pbes2, err := algorithm(oidPBES2, struct{ KDF, Scheme pkix.AlgorithmIdentifier }{kdf, scheme})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}{pbes2, data})
}

var (
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

func algorithm(oid asn1.ObjectIdentifier, parameters any) (id pkix.AlgorithmIdentifier, err error) {
	id.Algorithm = oid
	id.Parameters.FullBytes, err = asn1.Marshal(parameters)
	return id, err
}
