package winstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/algorithm"
	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// checkKeyType returns an error if the type of a certificate's key is not
// supported.
func checkKeyType(cert *x509.Certificate) error {
	name := ""
	switch pub := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if slices.Contains(curves(), pub.Curve) {
			return nil
		}
		name = signer.DescribeKey(pub)
	case nil:
		name = algorithm.OfKey(cert)
	default:
		name = cert.PublicKeyAlgorithm.String()
	}
	return signer.WithHint(fmt.Errorf("key type %s: %w", name, errors.ErrUnsupported),
		"use a certificate for an RSA key, or for an ECDSA key on P-256, P-384 or P-521")
}

// blobTypes are the CNG types of public key blobs.
var blobTypes = []struct {
	name  string
	parse func([]byte) (crypto.PublicKey, error)
}{{"RSAPUBLICBLOB", parseRSA}, {"ECCPUBLICBLOB", parseECC}}

// exportPublic returns the public key of a CNG key.
func exportPublic(sys system, key keyHandle) (crypto.PublicKey, error) {
	var errs []error
	for _, t := range blobTypes {
		blob, err := sys.exportPublic(key, t.name)
		if err == nil {
			return t.parse(blob)
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("export the public key: %w", errors.Join(errs...))
}

var errBlob = errors.New("invalid public key blob")

// parseRSA parses a BCRYPT_RSAKEY_BLOB: six numbers, the exponent and the modulus.
func parseRSA(b []byte) (crypto.PublicKey, error) {
	const magic, head, maxSize = 0x31415352, 24, 4096 // "RSA1"
	if len(b) < head || binary.LittleEndian.Uint32(b) != magic {
		return nil, errBlob
	}
	expSize, modSize := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	if expSize == 0 || expSize > 4 || modSize == 0 || modSize > maxSize || len(b)-head < int(expSize+modSize) {
		return nil, errBlob
	}
	exp := new(big.Int).SetBytes(b[head : head+expSize])
	if !exp.IsInt64() || exp.Int64() > 1<<31-1 {
		return nil, errBlob
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(b[head+expSize : head+expSize+modSize]), E: int(exp.Int64())}, nil
}

// eccMagics are BCRYPT_ECDSA_PUBLIC_P256_MAGIC and the magics of the other curves.
var eccMagics = lookup.Table[uint32, func() elliptic.Curve]{
	{0x31534345, elliptic.P256}, // "ECS1"
	{0x33534345, elliptic.P384},
	{0x35534345, elliptic.P521},
}

// parseECC parses a BCRYPT_ECCKEY_BLOB: two numbers and the coordinates.
func parseECC(b []byte) (crypto.PublicKey, error) {
	const head = 8
	if len(b) < head {
		return nil, errBlob
	}
	named, ok := eccMagics.Find(binary.LittleEndian.Uint32(b))
	if !ok {
		return nil, fmt.Errorf("curve of the ECC key: %w", errors.ErrUnsupported)
	}
	curve := named()
	size := (curve.Params().BitSize + 7) / 8
	if len(b) < head+2*size || binary.LittleEndian.Uint32(b[4:]) != uint32(size) {
		return nil, errBlob
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, append([]byte{4}, b[head:head+2*size]...))
	if err != nil {
		return nil, errBlob
	}
	return pub, nil
}
