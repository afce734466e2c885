package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
)

// An object is a key with its public area (TPM 2.0 Library, part 2, section
// 12.2.4).
type object struct {
	area   tpm2.TPMTPublic
	pub    crypto.PublicKey
	scheme scheme
}

// A scheme is the signature scheme in the public area of a key. A key with the
// scheme TPM_ALG_NULL supports all schemes of its type.
type scheme struct {
	alg  tpm2.TPMAlgID // TPMAlgNull: any
	hash tpm2.TPMAlgID // hash algorithm of alg
}

// parsePublic returns the public area in a TPM2B_PUBLIC.
func parsePublic(data []byte) (tpm2.TPMTPublic, error) {
	b, err := unmarshal[tpm2.TPM2BPublic](data)
	if err != nil {
		return tpm2.TPMTPublic{}, malformed("public part: " + err.Error())
	}
	area, err := unmarshal[tpm2.TPMTPublic](b.Bytes())
	if err != nil {
		return tpm2.TPMTPublic{}, malformed("public part: " + err.Error())
	}
	return *area, nil
}

// signingKey returns the key with the given public area. It returns an error if
// this package cannot sign with the key.
func signingKey(area tpm2.TPMTPublic) (object, error) {
	o := object{area: area}
	var err error
	switch area.Type {
	case tpm2.TPMAlgRSA:
		err = o.readRSA()
	case tpm2.TPMAlgECC:
		err = o.readECC()
	case tpm2.TPMAlgKeyedHash:
		if !isSealed(area) {
			err = fmt.Errorf("is an HMAC key, not an asymmetric key: %w", errors.ErrUnsupported)
			break
		}
		err = signer.WithHint(fmt.Errorf("is sealed data, not a key: %w", errors.ErrUnsupported), "use sealed data as a PIN source: pin-source=tpm:path=…")
	default:
		err = signer.WithHint(fmt.Errorf("object type 0x%04x is not an asymmetric key: %w", uint16(area.Type), errors.ErrUnsupported), hintTypes)
	}
	if err != nil {
		return object{}, err
	}
	a := area.ObjectAttributes
	switch {
	case a.Restricted && a.Decrypt:
		err = fmt.Errorf("is a storage key, which cannot sign: %w", errors.ErrUnsupported)
	case a.Restricted:
		err = fmt.Errorf("is a restricted key, which signs only data that the TPM has hashed: %w", errors.ErrUnsupported)
	case !o.scheme.supported():
		err = fmt.Errorf("supports only %s: %w", o.scheme, errors.ErrUnsupported)
	case !a.SignEncrypt && !o.rawRSA():
		err = fmt.Errorf("is not permitted to sign: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return object{}, signer.WithHint(err, "create a key with the attribute sign and without the attribute restricted")
	}
	return o, nil
}

// isSealed reports whether the object is sealed data: a keyed hash object with
// neither the attribute sign nor decrypt (part 2, section 12.2.2).
func isSealed(area tpm2.TPMTPublic) bool {
	a := area.ObjectAttributes
	return area.Type == tpm2.TPMAlgKeyedHash && !a.SignEncrypt && !a.Decrypt
}

const hintTypes = "use an RSA key, or an EC key on P-256, P-384 or P-521"

// rawRSA reports whether TPM2_RSA_Decrypt without padding is possible with the
// key. It is the RSA private key operation.
func (o object) rawRSA() bool {
	return o.area.Type == tpm2.TPMAlgRSA && o.area.ObjectAttributes.Decrypt && o.scheme.alg == tpm2.TPMAlgNull
}

func badPoint() error { return malformed("public part: point is not on the curve") }

// Supported sizes of RSA keys, in bits.
const minRSA, maxRSA = 1024, 4096

func (o *object) readRSA() error {
	params, err := o.area.Parameters.RSADetail()
	if err != nil {
		return malformed("public part: " + err.Error())
	}
	unique, err := o.area.Unique.RSA()
	if err != nil {
		return malformed("public part: " + err.Error())
	}
	bits := int(params.KeyBits)
	n := new(big.Int).SetBytes(unique.Buffer)
	if bits < minRSA || bits > maxRSA || n.BitLen() != bits || n.Bit(0) == 0 {
		return malformed("public part: invalid RSA modulus")
	}
	e := int64(params.Exponent)
	if e == 0 {
		e = 65537 // part 2, section 12.2.3.5
	}
	if e < 3 || e%2 == 0 || e > 1<<31-1 {
		return malformed("public part: invalid RSA exponent")
	}
	o.pub = &rsa.PublicKey{N: n, E: int(e)}
	o.scheme = scheme{alg: params.Scheme.Scheme}
	switch o.scheme.alg {
	case tpm2.TPMAlgNull:
	case tpm2.TPMAlgRSASSA:
		d, err := params.Scheme.Details.RSASSA()
		if err != nil {
			return malformed("public part: " + err.Error())
		}
		o.scheme.hash = d.HashAlg
	case tpm2.TPMAlgRSAPSS:
		d, err := params.Scheme.Details.RSAPSS()
		if err != nil {
			return malformed("public part: " + err.Error())
		}
		o.scheme.hash = d.HashAlg
	}
	return nil
}

// A curve is an elliptic curve that both Go and TPMs support.
type curve struct {
	id    tpm2.TPMECCCurve
	curve func() elliptic.Curve
}

var curves = []curve{
	{tpm2.TPMECCNistP256, elliptic.P256},
	{tpm2.TPMECCNistP384, elliptic.P384},
	{tpm2.TPMECCNistP521, elliptic.P521},
}

func (o *object) readECC() error {
	params, err := o.area.Parameters.ECCDetail()
	if err != nil {
		return malformed("public part: " + err.Error())
	}
	point, err := o.area.Unique.ECC()
	if err != nil {
		return malformed("public part: " + err.Error())
	}
	for _, c := range curves {
		if c.id != params.CurveID {
			continue
		}
		size := (c.curve().Params().BitSize + 7) / 8
		if len(point.X.Buffer) > size || len(point.Y.Buffer) > size {
			return badPoint()
		}
		b := make([]byte, 1+2*size)
		b[0] = 4 // uncompressed (SEC 1, section 2.3.3)
		copy(b[1+size-len(point.X.Buffer):], point.X.Buffer)
		copy(b[1+2*size-len(point.Y.Buffer):], point.Y.Buffer)
		pub, err := ecdsa.ParseUncompressedPublicKey(c.curve(), b)
		if err != nil {
			return badPoint()
		}
		o.pub, o.scheme = pub, scheme{alg: params.Scheme.Scheme}
		if o.scheme.alg == tpm2.TPMAlgECDSA {
			d, err := params.Scheme.Details.ECDSA()
			if err != nil {
				return malformed("public part: " + err.Error())
			}
			o.scheme.hash = d.HashAlg
		}
		return nil
	}
	return signer.WithHint(fmt.Errorf("curve 0x%04x: %w", uint16(params.CurveID), errors.ErrUnsupported), hintTypes)
}
