package file

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"hash"

	"golang.org/x/crypto/scrypt"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// The limits of a key derivation keep its time to seconds and its memory below
// 200 MB. Programs use about 10^6 iterations, and scrypt with 16 to 128 MiB.
const (
	maxIterations   = 10_000_000
	maxScryptMemory = 128 << 20 // bounds 128 * N * r, in bytes (RFC 7914, section 2); a quarter of it bounds 128 * (p+2) * r
	maxScryptWork   = 4 << 20   // bounds N * r * p
)

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
)

const oidHMACSHA1 = "1.2.840.113549.2.7"

// prfs are the pseudo-random functions of PBKDF2 (RFC 8018, appendix B.1).
var prfs = lookup.Table[string, func() hash.Hash]{
	{oidHMACSHA1, sha1.New},
	{"1.2.840.113549.2.8", sha256.New224},
	{"1.2.840.113549.2.9", sha256.New},
	{"1.2.840.113549.2.10", sha512.New384},
	{"1.2.840.113549.2.11", sha512.New},
}

// A cbcCipher is a block cipher in CBC mode. Sizes are in bytes.
type cbcCipher struct {
	keySize, blockSize int
	newBlock           func(key []byte) (cipher.Block, error)
}

// cbcCiphers are the encryption schemes of RFC 8018, appendix B.2, that are in
// use.
var cbcCiphers = lookup.Table[string, cbcCipher]{
	{"2.16.840.1.101.3.4.1.2", cbcCipher{16, aes.BlockSize, aes.NewCipher}},
	{"2.16.840.1.101.3.4.1.22", cbcCipher{24, aes.BlockSize, aes.NewCipher}},
	{"2.16.840.1.101.3.4.1.42", cbcCipher{32, aes.BlockSize, aes.NewCipher}},
	{"1.2.840.113549.3.7", cbcCipher{24, des.BlockSize, des.NewTripleDESCipher}},
}

// A pbes2 is an EncryptedPrivateKeyInfo with valid parameters.
type pbes2 struct {
	cbcCipher
	derive     func(password []byte, size int) ([]byte, error)
	cost       int64 // of derive, in iterations
	iv         []byte
	ciphertext []byte
}

// parsePBES2 parses an EncryptedPrivateKeyInfo (RFC 5958, section 3) with PBES2.
func parsePBES2(der []byte) (*pbes2, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Data      []byte
	}
	if err := unmarshal(der, &info); err != nil {
		return nil, err
	}
	return newPBES2(info.Algorithm, info.Data)
}

// newPBES2 parses the parameters of PBES2 (RFC 8018, section 6.2). It refuses
// parameters above the limits.
func newPBES2(algorithm pkix.AlgorithmIdentifier, data []byte) (*pbes2, error) {
	if !algorithm.Algorithm.Equal(oidPBES2) {
		return nil, &schemeError{algorithm.Algorithm}
	}
	var params struct{ KDF, Scheme pkix.AlgorithmIdentifier }
	if err := unmarshal(algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	scheme, ok := cbcCiphers.Find(params.Scheme.Algorithm.String())
	if !ok {
		return nil, &schemeError{params.Scheme.Algorithm}
	}
	if scheme.blockSize == des.BlockSize {
		if err := inFIPSMode("triple DES"); err != nil {
			return nil, err
		}
	}
	e := &pbes2{cbcCipher: scheme, ciphertext: data}
	if err := unmarshal(params.Scheme.Parameters.FullBytes, &e.iv); err != nil {
		return nil, fmt.Errorf("initialization vector: %w", err)
	}
	if len(e.iv) != scheme.blockSize {
		return nil, fmt.Errorf("initialization vector has %d bytes, but the cipher needs %d", len(e.iv), scheme.blockSize)
	}
	if err := scheme.checkSize(data); err != nil {
		return nil, err
	}
	var err error
	if e.derive, e.cost, err = parseKDF(params.KDF, scheme.keySize); err != nil {
		return nil, err
	}
	return e, nil
}

// A schemeError reports an encryption that is not supported.
type schemeError struct{ oid asn1.ObjectIdentifier }

func (e *schemeError) Error() string { return nameOf(e.oid) + " is not supported" }
func (e *schemeError) Unwrap() error { return errors.ErrUnsupported }

func (c cbcCipher) checkSize(ciphertext []byte) error {
	if n := len(ciphertext); n == 0 || n%c.blockSize != 0 {
		return fmt.Errorf("ciphertext has %d bytes, not a positive multiple of the block size", n)
	}
	return nil
}

// parseKDF returns the function of a key derivation and its work, in
// iterations.
func parseKDF(kdf pkix.AlgorithmIdentifier, keySize int) (func([]byte, int) ([]byte, error), int64, error) {
	switch {
	case kdf.Algorithm.Equal(oidPBKDF2):
		p, prf, err := parsePBKDF2(kdf)
		if err != nil {
			return nil, 0, err
		}
		if err := p.check(keySize); err != nil {
			return nil, 0, err
		}
		return func(password []byte, size int) ([]byte, error) {
			return pbkdf2.Key(prf, string(password), p.Salt, p.Iterations, size)
		}, int64(p.Iterations), nil
	case kdf.Algorithm.Equal(oidScrypt):
		if err := inFIPSMode("scrypt"); err != nil {
			return nil, 0, err
		}
		var p scryptParams
		if err := unmarshal(kdf.Parameters.FullBytes, &p); err != nil {
			return nil, 0, fmt.Errorf("scrypt: %w", err)
		}
		if err := p.check(keySize); err != nil {
			return nil, 0, err
		}
		return func(password []byte, size int) ([]byte, error) {
			return scrypt.Key(password, p.Salt, p.N, p.R, p.P, size)
		}, int64(p.N) * int64(p.R) * int64(p.P), nil
	}
	return nil, 0, fmt.Errorf("key derivation: %w", &schemeError{kdf.Algorithm})
}

func parsePBKDF2(kdf pkix.AlgorithmIdentifier) (p pbkdf2Params, prf func() hash.Hash, err error) {
	if err := unmarshal(kdf.Parameters.FullBytes, &p); err != nil {
		return p, nil, fmt.Errorf("PBKDF2: %w", err)
	}
	prf = sha1.New // the default
	name := oidHMACSHA1
	if len(p.PRF.Algorithm) > 0 {
		var ok bool
		name = p.PRF.Algorithm.String()
		if prf, ok = prfs.Find(name); !ok {
			return p, nil, fmt.Errorf("PBKDF2: %w", &schemeError{p.PRF.Algorithm})
		}
	}
	// SP 800-132, section 5.1, requires 128 bits of salt.
	if name == oidHMACSHA1 {
		err = inFIPSMode("PBKDF2 with SHA-1")
	} else if len(p.Salt) < 16 {
		err = inFIPSMode(fmt.Sprintf("PBKDF2 with a salt of %d bytes instead of 16", len(p.Salt)))
	}
	return p, prf, err
}

// pbkdf2Params is PBKDF2-params (RFC 8018, appendix A.2).
type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

func (p *pbkdf2Params) check(keySize int) error {
	if p.Iterations < 1 || p.Iterations > maxIterations {
		return fmt.Errorf("PBKDF2 has %d iterations, but 1 to %d are allowed", p.Iterations, maxIterations)
	}
	if p.KeyLength != 0 && p.KeyLength != keySize {
		return fmt.Errorf("PBKDF2 derives %d bytes, but the cipher needs %d", p.KeyLength, keySize)
	}
	return nil
}

// scryptParams is scrypt-params (RFC 7914, section 7).
type scryptParams struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

func (p *scryptParams) check(keySize int) error {
	const limit = maxScryptMemory / 128
	switch {
	case p.N < 2 || p.N&(p.N-1) != 0 || p.R < 1 || p.P < 1:
		return fmt.Errorf("scrypt parameters N=%d, r=%d, p=%d are invalid", p.N, p.R, p.P)
	case p.N > limit || p.R > limit/p.N || p.P > maxScryptWork/(p.N*p.R) || p.R > limit/4/(p.P+2):
		return fmt.Errorf("scrypt with N=%d, r=%d, p=%d needs too much memory or time; at most %d MiB are allowed",
			p.N, p.R, p.P, maxScryptMemory>>20)
	case p.KeyLength != 0 && p.KeyLength != keySize:
		return fmt.Errorf("scrypt derives %d bytes, but the cipher needs %d", p.KeyLength, keySize)
	}
	return nil
}

func (e *pbes2) work() int64 { return e.cost }

// decrypt implements ciphertext. The derivation is not interrupted.
func (e *pbes2) decrypt(ctx context.Context, password passphrase) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	key, err := e.derive(password, e.keySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return e.cbcCipher.decrypt(key, e.iv, e.ciphertext)
}

// decrypt checks the padding (RFC 8018, section 6.1.1, step 4).
func (c cbcCipher) decrypt(key, iv, ciphertext []byte) ([]byte, error) {
	block, err := c.newBlock(key)
	if err != nil {
		return nil, err
	}
	plain := make([]byte, len(ciphertext))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, ciphertext)
	pad := int(plain[len(plain)-1])
	if pad < 1 || pad > c.blockSize {
		return nil, errPasswordIncorrect
	}
	for _, b := range plain[len(plain)-pad:] {
		if int(b) != pad {
			return nil, errPasswordIncorrect
		}
	}
	return plain[:len(plain)-pad], nil
}

// unmarshal hides the text of the decoder's error, which contains Go values.
func unmarshal(der []byte, v any) error {
	if rest, err := asn1.Unmarshal(der, v); err != nil || len(rest) > 0 {
		return errASN1
	}
	return nil
}
