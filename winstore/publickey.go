package winstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// checkType says why a certificate's key is of no use here; nil if it is.
func checkType(cert *x509.Certificate) error {
	name := ""
	switch pub := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return nil
	case *ecdsa.PublicKey:
		if slices.Contains(curves, pub.Curve) {
			return nil
		}
		name = signer.DescribeKey(pub)
	case nil:
		name = algorithmName(cert.RawSubjectPublicKeyInfo)
	default:
		name = cert.PublicKeyAlgorithm.String()
	}
	return signer.WithHint(fmt.Errorf("its key is %s: %w", name, errors.ErrUnsupported),
		"take a certificate for an RSA key, or for an ECDSA key on P-256, P-384 or P-521")
}

// algorithms are those that crypto/x509 has no name for but that are met.
var algorithms = map[string]string{
	"2.16.840.1.101.3.4.3.17": "ML-DSA-44", // FIPS 204
	"2.16.840.1.101.3.4.3.18": "ML-DSA-65",
	"2.16.840.1.101.3.4.3.19": "ML-DSA-87",
	"1.3.101.113":             "Ed448",
	"1.2.840.113549.1.1.10":   "RSASSA-PSS",
}

func algorithmName(der []byte) string {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return "unreadable"
	}
	oid := info.Algorithm.Algorithm.String()
	if name, ok := algorithms[oid]; ok {
		return name
	}
	return "of type " + oid
}

// blobTypes are what CNG calls its public keys.
var blobTypes = []struct {
	name  string
	parse func([]byte) (crypto.PublicKey, error)
}{{"RSAPUBLICBLOB", parseRSA}, {"ECCPUBLICBLOB", parseECC}}

// exportPublic asks a CNG key for its public half.
func exportPublic(sys system, key keyHandle) (crypto.PublicKey, error) {
	var errs []error
	for _, t := range blobTypes {
		blob, err := sys.exportPublic(key, t.name)
		if err == nil {
			return t.parse(blob)
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("its public half: %w", errors.Join(errs...))
}

var errBlob = errors.New("the provider's form of the public key cannot be read")

// parseRSA reads a BCRYPT_RSAKEY_BLOB: six numbers, exponent and modulus.
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

// eccMagics are those of BCRYPT_ECDSA_PUBLIC_P256_MAGIC and its like.
var eccMagics = map[uint32]elliptic.Curve{
	0x31534345: elliptic.P256(), // "ECS1"
	0x33534345: elliptic.P384(),
	0x35534345: elliptic.P521(),
}

// parseECC reads a BCRYPT_ECCKEY_BLOB: two numbers and the coordinates.
func parseECC(b []byte) (crypto.PublicKey, error) {
	const head = 8
	if len(b) < head {
		return nil, errBlob
	}
	curve, ok := eccMagics[binary.LittleEndian.Uint32(b)]
	if !ok {
		return nil, fmt.Errorf("ECC key of another curve: %w", errors.ErrUnsupported)
	}
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
