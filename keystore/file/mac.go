package file

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"hash"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

var oidPBMAC1 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 14}

// macHashes are the hash functions of a MAC (RFC 7292, appendix A).
var macHashes = lookup.Table[string, func() hash.Hash]{
	{"1.3.14.3.2.26", sha1.New},
	{"2.16.840.1.101.3.4.2.4", sha256.New224},
	{"2.16.840.1.101.3.4.2.1", sha256.New},
	{"2.16.840.1.101.3.4.2.2", sha512.New384},
	{"2.16.840.1.101.3.4.2.3", sha512.New},
	{"2.16.840.1.101.3.4.2.5", sha512.New512_224},
	{"2.16.840.1.101.3.4.2.6", sha512.New512_256},
}

// A pfxMAC is the MAC of a PKCS #12 file.
type pfxMAC struct {
	newHash func() hash.Hash
	derive  func(context.Context, passphrase) ([][]byte, error) // the possible keys
	digest  []byte
	work    int64 // of derive, in iterations
}

// parseMAC parses
//
//	MacData ::= SEQUENCE { mac DigestInfo, macSalt OCTET STRING, iterations INTEGER DEFAULT 1 }
func parseMAC(der []byte) (*pfxMAC, error) {
	var data struct {
		MAC struct {
			Algorithm pkix.AlgorithmIdentifier
			Digest    []byte
		}
		Salt       []byte
		Iterations int `asn1:"optional,default:1"`
	}
	if err := unmarshal(der, &data); err != nil {
		return nil, errPFXDamaged
	}
	m := &pfxMAC{digest: data.MAC.Digest}
	id := data.MAC.Algorithm
	if id.Algorithm.Equal(oidPBMAC1) {
		return m, m.parsePBMAC1(id)
	}
	if err := inFIPSMode("the key derivation of a PKCS #12 MAC (RFC 7292, appendix B)"); err != nil {
		return nil, err
	}
	var ok bool
	if m.newHash, ok = macHashes.Find(id.Algorithm.String()); !ok {
		return nil, fmt.Errorf("MAC: %w", &schemeError{id.Algorithm})
	}
	if err := checkIterations(data.Iterations); err != nil {
		return nil, err
	}
	m.work = int64(data.Iterations)
	m.derive = func(ctx context.Context, p passphrase) (keys [][]byte, err error) {
		const forMAC = 3
		for _, password := range p.bmpStrings() {
			key, err := pkcs12KDF(ctx, m.newHash, forMAC, password, data.Salt, data.Iterations, m.newHash().Size())
			clear(password)
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
		return keys, nil
	}
	return m, nil
}

// parsePBMAC1 parses PBMAC1-params (RFC 8018, section 7.1; RFC 9579).
func (m *pfxMAC) parsePBMAC1(id pkix.AlgorithmIdentifier) error {
	const maxLength = 64 // of the derived key, in bytes
	var params struct{ KDF, Scheme pkix.AlgorithmIdentifier }
	if err := unmarshal(id.Parameters.FullBytes, &params); err != nil {
		return errPFXDamaged
	}
	if !params.KDF.Algorithm.Equal(oidPBKDF2) {
		return fmt.Errorf("MAC: key derivation: %w", &schemeError{params.KDF.Algorithm})
	}
	kdf, prf, err := parsePBKDF2(params.KDF)
	if err != nil {
		return fmt.Errorf("MAC: %w", err)
	}
	if kdf.KeyLength < 1 || kdf.KeyLength > maxLength {
		return fmt.Errorf("MAC has a key of %d bytes, but 1 to %d are allowed", kdf.KeyLength, maxLength)
	}
	if err := checkIterations(kdf.Iterations); err != nil {
		return err
	}
	var ok bool
	if m.newHash, ok = prfs.Find(params.Scheme.Algorithm.String()); !ok {
		return fmt.Errorf("MAC: %w", &schemeError{params.Scheme.Algorithm})
	}
	if params.Scheme.Algorithm.String() == oidHMACSHA1 {
		if err := inFIPSMode("a MAC with SHA-1"); err != nil {
			return err
		}
	}
	if kdf.KeyLength < 14 {
		if err := inFIPSMode(fmt.Sprintf("a MAC with a key of %d bytes", kdf.KeyLength)); err != nil {
			return err
		}
	}
	m.work = int64(kdf.Iterations)
	m.derive = func(_ context.Context, p passphrase) ([][]byte, error) {
		key, err := pbkdf2.Key(prf, string(p), kdf.Salt, kdf.Iterations, kdf.KeyLength)
		return [][]byte{key}, err
	}
	return nil
}

// verify returns errPasswordIncorrect if the MAC of data is another one.
func (m *pfxMAC) verify(ctx context.Context, p passphrase, data []byte) error {
	keys, err := m.derive(ctx, p)
	if err != nil {
		return err
	}
	for _, key := range keys {
		h := hmac.New(m.newHash, key)
		clear(key)
		h.Write(data)
		if hmac.Equal(h.Sum(nil), m.digest) {
			return nil
		}
	}
	return errPasswordIncorrect
}
