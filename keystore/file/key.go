package file

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/internal/mldsa"
	"github.com/holdfast-dev/holdfast/signer"
)

var (
	oidRSA     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidEC      = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112}
	oidPrime   = asn1.ObjectIdentifier{1, 2, 840, 10045, 1, 1}
)

// curves are the supported named curves (RFC 5480, section 2.1.1.1).
var curves = lookup.Table[string, func() elliptic.Curve]{
	{"1.2.840.10045.3.1.7", elliptic.P256},
	{"1.3.132.0.34", elliptic.P384},
	{"1.3.132.0.35", elliptic.P521},
}

// keyDamaged returns the error of a key that no program can use.
func keyDamaged() error { return signer.WithHint(errors.New("private key is damaged"), hintDamaged) }

func unsupportedKey(name string) error {
	return signer.WithHint(unsupported("private key is for %s, which is not supported", name), hintKeyTypes)
}

// parseKey decodes a private key in DER or BER.
func parseKey(ctx context.Context, data []byte, pw passwordFunc) (crypto.Signer, error) {
	if len(data) > maxKey {
		return nil, fmt.Errorf("private key has %d bytes, but the limit is %d", len(data), maxKey)
	}
	der, rest, err := toDER(data)
	if err != nil || len(trimLineEnd(rest)) > 0 {
		return nil, keyDamaged()
	}
	for _, f := range keyFormats {
		if !f.matches(der) {
			continue
		}
		if f.parse == nil {
			return parseEncryptedPKCS8(ctx, der, pw)
		}
		return f.parse(der)
	}
	return nil, keyDamaged()
}

// encrypted reports whether the key needs a password.
func (k keyPart) encrypted() bool {
	der, _, err := toDER(k.der)
	return err == nil && isEncrypted(der)
}

// parsePKCS8 parses a PrivateKeyInfo (RFC 5958, section 2).
func parsePKCS8(der []byte) (crypto.Signer, error) {
	in := cryptobyte.String(der)
	var seq, algorithm, key cryptobyte.String
	var version int
	var id pkix.AlgorithmIdentifier
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !seq.ReadASN1Integer(&version) ||
		!seq.ReadASN1Element(&algorithm, cbasn1.SEQUENCE) || !seq.ReadASN1(&key, cbasn1.OCTET_STRING) ||
		unmarshal(algorithm, &id) != nil {
		return nil, keyDamaged()
	}
	switch {
	case id.Algorithm.Equal(oidRSA):
		inner, _, err := toDER(key)
		if err != nil {
			return nil, keyDamaged()
		}
		return parseRSA(inner)
	case id.Algorithm.Equal(oidEC):
		inner, _, err := toDER(key)
		if err != nil {
			return nil, keyDamaged()
		}
		return parseEC(inner, id.Parameters.FullBytes)
	case id.Algorithm.Equal(oidEd25519):
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		if s, ok := parsed.(crypto.Signer); ok && err == nil {
			return s, nil
		}
		return nil, keyDamaged()
	}
	if set := mldsa.ParametersFor(id.Algorithm); set != nil {
		return parseMLDSA(set, id.Parameters.FullBytes, key)
	}
	return nil, unsupportedKey(nameOf(id.Algorithm))
}

// parseRSA parses an RSAPrivateKey (RFC 8017, appendix A.1.2). A key can have
// more than two primes, or none, if the writer knew only n, e and d: then the
// primes are 0 or missing.
func parseRSA(der []byte) (crypto.Signer, error) {
	in := cryptobyte.String(der)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) {
		return nil, keyDamaged()
	}
	var numbers []*big.Int // version, n, e, d, p, q, dP, dQ, qInv
	for !seq.Empty() && len(numbers) < 9 {
		n := new(big.Int)
		if !seq.ReadASN1Integer(n) || n.Sign() < 0 {
			return nil, keyDamaged()
		}
		numbers = append(numbers, n)
	}
	if len(numbers) == 6 && seq.Empty() { // version, p, q, g, y, x, as OpenSSL writes them
		return nil, unsupportedKey("DSA")
	}
	if len(numbers) != 4 && len(numbers) != 9 {
		return nil, keyDamaged()
	}
	n, e, d := numbers[1], numbers[2], numbers[3]
	const minBits, maxExponent = 1024, 31
	switch bits := n.BitLen(); {
	case bits < minBits:
		return nil, signer.WithHint(unsupported("private key is for RSA with %d bits, which is too weak", bits), hintNewRSA)
	case e.BitLen() > maxExponent:
		return nil, signer.WithHint(unsupported("private key is for RSA with a public exponent of %d bits, but at most %d are supported", e.BitLen(), maxExponent), hintNewRSA)
	case bits < 2*minBits:
		if err := inFIPSMode(fmt.Sprintf("RSA with %d bits", bits)); err != nil {
			return nil, signer.WithHint(err, hintNewRSA)
		}
	}
	if len(numbers) == 4 || numbers[4].Sign() == 0 || numbers[5].Sign() == 0 {
		return rsaWithoutPrimes(n, e, d)
	}
	key, err := x509.ParsePKCS1PrivateKey(der)
	if err != nil {
		return nil, numbersDamaged()
	}
	return key, nil
}

func numbersDamaged() error {
	if fips140.Enforced() {
		return signer.WithHint(errors.New("private key is damaged, or its numbers are not allowed in FIPS mode"), hintDamaged)
	}
	return signer.WithHint(errors.New("private key is damaged: its numbers do not belong together"), hintDamaged)
}

// maxBitsWithoutPrimes bounds the time to check such a key, which is seconds.
const maxBitsWithoutPrimes = 8192

// rsaWithoutPrimes checks the key with a signature.
func rsaWithoutPrimes(n, e, d *big.Int) (crypto.Signer, error) {
	if n.BitLen() > maxBitsWithoutPrimes {
		return nil, unsupportedKey(fmt.Sprintf("RSA with %d bits and without its primes", n.BitLen()))
	}
	if err := inFIPSMode("RSA without its primes"); err != nil {
		return nil, signer.WithHint(err, hintNewRSA)
	}
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: int(e.Int64())}, D: d}
	digest := make([]byte, crypto.SHA256.Size())
	if d.Cmp(n) >= 0 || e.Int64() < 3 || n.Bit(0) == 0 || e.Bit(0) == 0 {
		return nil, numbersDamaged()
	}
	key.Precompute()
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest)
	if err != nil || rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest, signature) != nil {
		return nil, numbersDamaged()
	}
	return key, nil
}

func parseSEC1(der []byte) (crypto.Signer, error) { return parseEC(der, nil) }

// parseEC parses an ECPrivateKey (RFC 5915, section 3). If parameters is nil,
// they are in the key.
func parseEC(der, parameters []byte) (crypto.Signer, error) {
	in := cryptobyte.String(der)
	var seq, scalar, inner cryptobyte.String
	var version int
	var found bool
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !seq.ReadASN1Integer(&version) || version != 1 ||
		!seq.ReadASN1(&scalar, cbasn1.OCTET_STRING) ||
		!seq.ReadOptionalASN1(&inner, &found, cbasn1.Tag(0).Constructed().ContextSpecific()) {
		return nil, keyDamaged()
	}
	if parameters == nil {
		parameters = inner
	}
	if len(parameters) == 0 {
		return nil, signer.WithHint(errors.New("private key does not name its curve"), hintKeyTypes)
	}
	curve, err := parseCurve(parameters)
	if err != nil {
		return nil, err
	}
	// Some programs write the number without leading zeros, or with more.
	raw := make([]byte, (curve.Params().N.BitLen()+7)/8)
	number := bytes.TrimLeft(scalar, "\x00")
	if len(number) > len(raw) {
		return nil, keyDamaged()
	}
	copy(raw[len(raw)-len(number):], number)
	defer clear(raw)
	key, err := ecdsa.ParseRawPrivateKey(curve, raw)
	if err != nil {
		return nil, keyDamaged()
	}
	return key, nil
}

// parseCurve parses ECParameters (RFC 5480, section 2.1.1, and SEC 1, appendix
// C.2). It recognizes the supported curves also by their numbers.
func parseCurve(der []byte) (elliptic.Curve, error) {
	in := cryptobyte.String(der)
	var oid asn1.ObjectIdentifier
	if in.PeekASN1Tag(cbasn1.OBJECT_IDENTIFIER) {
		if !in.ReadASN1ObjectIdentifier(&oid) {
			return nil, keyDamaged()
		}
		if curve, ok := curves.Find(oid.String()); ok {
			return curve(), nil
		}
		return nil, unsupportedKey("ECDSA on " + nameOf(oid))
	}
	var seq, field, equation, a, b, base cryptobyte.String
	var version int
	p, n := new(big.Int), new(big.Int)
	if !in.ReadASN1(&seq, cbasn1.SEQUENCE) || !seq.ReadASN1Integer(&version) ||
		!seq.ReadASN1(&field, cbasn1.SEQUENCE) || !field.ReadASN1ObjectIdentifier(&oid) {
		return nil, keyDamaged()
	}
	if oid.Equal(oidPrime) && field.ReadASN1Integer(p) && seq.ReadASN1(&equation, cbasn1.SEQUENCE) &&
		equation.ReadASN1(&a, cbasn1.OCTET_STRING) && equation.ReadASN1(&b, cbasn1.OCTET_STRING) &&
		seq.ReadASN1(&base, cbasn1.OCTET_STRING) && seq.ReadASN1Integer(n) {
		for _, named := range curves {
			curve := named.Value()
			c := curve.Params()
			size := (c.BitSize + 7) / 8
			minus3 := new(big.Int).Sub(c.P, big.NewInt(3))
			x, y := c.Gx.FillBytes(make([]byte, size)), c.Gy.FillBytes(make([]byte, size))
			sameBase := bytes.Equal(base, slices.Concat([]byte{4}, x, y)) ||
				bytes.Equal(base, append([]byte{2 + byte(c.Gy.Bit(0))}, x...))
			if sameBase && p.Cmp(c.P) == 0 && n.Cmp(c.N) == 0 &&
				new(big.Int).SetBytes(a).Cmp(minus3) == 0 && new(big.Int).SetBytes(b).Cmp(c.B) == 0 {
				return curve, nil
			}
		}
	}
	return nil, unsupportedKey("ECDSA on a curve that the file specifies itself")
}

func parseEncryptedPKCS8(ctx context.Context, der []byte, pw passwordFunc) (crypto.Signer, error) {
	e, err := parsePBES2(der)
	if err != nil {
		hint := "encrypt it again with: openssl pkcs8 -topk8 -in FILE -out FILE.converted.pem"
		if scheme := new(schemeError); errors.As(err, &scheme) { // OpenSSL 3 has most of these in its legacy provider
			hint = "encrypt it again with: openssl pkcs8 -topk8 -in FILE -out FILE.converted.pem -provider legacy -provider default"
		} else if fips140.Enforced() { // what OpenSSL before version 3.2 encrypts has a salt of 8 bytes
			hint = "store the key without encryption: openssl pkey -in FILE -out FILE.converted.pem; to keep the encryption, use OpenSSL 3.2 or later with the option -saltlen 16"
		}
		return nil, signer.WithHint(fmt.Errorf("encrypted private key: %w", err), hint)
	}
	passwords, err := pw()
	if err != nil {
		return nil, err
	}
	defer passwords.clear()
	for _, password := range passwords {
		var plain []byte
		if plain, err = e.decrypt(ctx, password); err == nil {
			defer clear(plain)
			if inner, rest, derr := toDER(plain); derr == nil && len(rest) == 0 && isPKCS8(inner) {
				return parsePKCS8(inner)
			}
			err = errPasswordIncorrect // 1 of 256 wrong passwords results in valid padding
		}
		if err != errPasswordIncorrect {
			break
		}
	}
	return nil, err
}
