package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/holdfast-dev/holdfast/internal/lookup"
	"github.com/holdfast-dev/holdfast/signer"
)

// maxRSABits is the largest supported size of an RSA modulus, in bits.
const maxRSABits = 16384

// publicFromToken returns the public key of a private key, or nil if the token
// does not provide it. If several public keys have the name of the private key,
// it is the first one.
func publicFromToken(mod module, session uint, key object) (crypto.PublicKey, error) {
	pubs, _, err := publicsFromToken(mod, session, key)
	if err != nil || len(pubs) == 0 {
		return nil, err
	}
	return pubs[0], nil
}

// publicsFromToken returns the public keys that the token provides for a private
// key. own reports that the only one is an attribute of the private key itself.
// Otherwise they are objects with its ID or, without an ID, its label, which can
// belong to another private key.
func publicsFromToken(mod module, session uint, key object) (_ []crypto.PublicKey, own bool, _ error) {
	kind, err := ulong(key.values[ckaKeyType])
	if err != nil {
		return nil, false, err
	}
	if kind == ckkRSA {
		if err := key.load(mod, session, publicParts.Get(ckkRSA)); err != nil {
			return nil, false, err
		}
		if len(key.values[ckaModulus]) > 0 && len(key.values[ckaPublicExponent]) > 0 {
			pub, err := rsaKey(key.values)
			return []crypto.PublicKey{pub}, true, err
		}
	}
	named, err := namedPublics(mod, session, key, kind)
	if err != nil || len(named) > 0 {
		return named, false, err
	}
	if err := key.load(mod, session, []uint{ckaPublicKeyInfo}); err != nil {
		return nil, false, err
	}
	if pub, err := x509.ParsePKIXPublicKey(key.values[ckaPublicKeyInfo]); err == nil && mayMatch(key, pub) {
		return []crypto.PublicKey{pub}, true, nil
	}
	return nil, false, nil
}

// namedPublics returns the different public keys in objects with the name of a
// private key. It returns the error of an object that cannot be used only if no
// other can.
func namedPublics(mod module, session uint, key object, kind uint) ([]crypto.PublicKey, error) {
	u := URI{ID: string(key.id)}
	if u.ID == "" {
		u.Object = key.label
	}
	if u == (URI{}) {
		return nil, nil
	}
	found, err := objects(mod, session, u, ckoPublicKey, ckaKeyType)
	if err != nil {
		return nil, err
	}
	var pubs []crypto.PublicKey
	var broken error
	for _, o := range found {
		if k, err := ulong(o.values[ckaKeyType]); err != nil || k != kind {
			continue
		}
		if err := o.load(mod, session, publicParts.Get(kind)); err != nil {
			return nil, err
		}
		pub, err := parsePublic(kind, o.values)
		if err != nil {
			broken = err
			continue
		}
		pubs = addPublic(pubs, pub)
	}
	if len(pubs) > 0 {
		return pubs, nil
	}
	return nil, broken
}

// addPublic adds pub to pubs unless they contain it.
func addPublic(pubs []crypto.PublicKey, pub crypto.PublicKey) []crypto.PublicKey {
	if slices.ContainsFunc(pubs, func(p crypto.PublicKey) bool { return signer.SamePublicKey(p, pub) }) {
		return pubs
	}
	return append(pubs, pub)
}

// publicParts maps a key type to the attributes of its public key.
var publicParts = lookup.Table[uint, []uint]{
	{ckkRSA, []uint{ckaModulus, ckaPublicExponent}},
	{ckkEC, []uint{ckaECParams, ckaECPoint}},
	{ckkECEdwards, []uint{ckaECPoint}},
}

// load adds the values of more attribute types to o.values.
func (o object) load(mod module, session uint, types []uint) error {
	if len(types) == 0 {
		return nil
	}
	more, err := mod.attributes(session, o.handle, types...)
	if err != nil {
		return err
	}
	maps.Copy(o.values, more)
	return nil
}

// parsePublic returns the public key with the given attributes.
func parsePublic(kind uint, values map[uint][]byte) (crypto.PublicKey, error) {
	switch kind {
	case ckkRSA:
		return rsaKey(values)
	case ckkEC:
		return ecKey(values)
	case ckkECEdwards:
		point := octetString(values[ckaECPoint], ed25519.PublicKeySize)
		if len(point) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("public key of %d bytes on an Edwards curve: %w", len(point), errors.ErrUnsupported)
		}
		return ed25519.PublicKey(point), nil
	}
	return nil, fmt.Errorf("key type 0x%x: %w", kind, errors.ErrUnsupported)
}

func rsaKey(values map[uint][]byte) (crypto.PublicKey, error) {
	modulus := bytes.TrimLeft(values[ckaModulus], "\x00")
	exponent := bytes.TrimLeft(values[ckaPublicExponent], "\x00")
	if len(modulus) > maxRSABits/8 || len(exponent) > 4 {
		return nil, fmt.Errorf("malformed RSA key: modulus of %d bytes, exponent of %d bytes", len(modulus), len(exponent))
	}
	pub := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(new(big.Int).SetBytes(exponent).Int64())}
	if !validRSA(pub) {
		return nil, fmt.Errorf("malformed RSA key: modulus of %d bits, exponent %d", pub.N.BitLen(), pub.E)
	}
	return pub, nil
}

// validRSA reports whether the modulus and the exponent of pub are safe to
// compute with. Its limits are similar to those of crypto/rsa.
func validRSA(pub *rsa.PublicKey) bool {
	return pub.N.BitLen() >= 512 && pub.N.BitLen() <= maxRSABits && pub.N.Bit(0) == 1 &&
		pub.E >= 3 && pub.E <= 1<<31-1 && pub.E&1 == 1
}

// Values of CKA_EC_PARAMS: DER-encoded object identifiers (RFC 5480, section 2.1.1.1).
const (
	p256OID = "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
	p384OID = "\x06\x05\x2b\x81\x04\x00\x22"
	p521OID = "\x06\x05\x2b\x81\x04\x00\x23"
)

// curves maps values of CKA_EC_PARAMS to curves.
var curves = lookup.Table[string, func() elliptic.Curve]{
	{p256OID, elliptic.P256},
	{p384OID, elliptic.P384},
	{p521OID, elliptic.P521},
}

func isKnownCurve(c elliptic.Curve) bool {
	for _, known := range curves {
		if known.Value() == c {
			return true
		}
	}
	return false
}

func ecKey(values map[uint][]byte) (crypto.PublicKey, error) {
	named := curves.Get(string(values[ckaECParams]))
	if named == nil {
		return nil, fmt.Errorf("EC key on a curve other than P-256, P-384 and P-521: %w", errors.ErrUnsupported)
	}
	curve := named()
	size := 1 + 2*((curve.Params().BitSize+7)/8)
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, octetString(values[ckaECPoint], size))
	if err != nil {
		return nil, fmt.Errorf("EC point: %w", err)
	}
	return pub, nil
}

// octetString decodes CKA_EC_POINT, a DER-encoded OCTET STRING (PKCS #11 v3.1,
// section 6.3.3). Some modules return the point itself, so octetString returns
// a value of size bytes unchanged. Checking the size first is necessary because
// an uncompressed point, which also begins with the byte 4, can look like DER.
func octetString(b []byte, size int) []byte {
	if len(b) == size {
		return b
	}
	var point []byte
	if rest, err := asn1.Unmarshal(b, &point); err == nil && len(rest) == 0 {
		return point
	}
	return b
}

// mayMatch reports whether the attributes of a private key are consistent with
// the public key pub.
func mayMatch(key object, pub crypto.PublicKey) bool {
	kind, err := ulong(key.values[ckaKeyType])
	if err != nil {
		return false
	}
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		n := bytes.TrimLeft(key.values[ckaModulus], "\x00")
		return kind == ckkRSA && validRSA(pub) && (len(n) == 0 || bytes.Equal(n, pub.N.Bytes()))
	case *ecdsa.PublicKey:
		return kind == ckkEC && isKnownCurve(pub.Curve)
	case ed25519.PublicKey:
		return kind == ckkECEdwards
	}
	return false
}

// ulong decodes a CK_ULONG, which has the size and byte order of the machine.
func ulong(b []byte) (uint, error) {
	switch len(b) {
	case 4:
		return uint(binary.NativeEndian.Uint32(b)), nil
	case 8:
		return uint(binary.NativeEndian.Uint64(b)), nil
	}
	return 0, fmt.Errorf("attribute value of %d bytes is not a CK_ULONG", len(b))
}
