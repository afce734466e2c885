package tpm

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"math/big"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// Every algorithm identifier at every position. go-tpm uses these identifiers
// to select the type of the next field.
func TestParsePublicAllIdentifiers(t *testing.T) {
	for _, public := range samplePublicAreas() {
		if len(public) > 200 {
			continue // like others, with a longer modulus
		}
		for at := 2; at < min(len(public)-1, 40); at++ {
			for id := range 0x30 {
				data := bytes.Clone(public)
				data[at], data[at+1] = 0, byte(id)
				checkPublic(t, data)
			}
		}
	}
}

func TestSigningKey(t *testing.T) {
	ec := signertest.NewKey(t, "p256").Public().(*ecdsa.PublicKey)
	point, err := ec.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	x, y := point[1:33], point[33:]
	modulus := append([]byte{0xc5}, bytes.Repeat([]byte{0x11}, 255)...)

	ecc := func(x, y []byte, changes ...func(*tpm2.TPMSECCParms)) tpm2.TPMTPublic {
		area := eccTemplate(tpm2.TPMECCNistP256)
		params, _ := area.Parameters.ECCDetail()
		own := *params
		for _, change := range changes {
			change(&own)
		}
		area.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &own)
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{X: tpm2.TPM2BECCParameter{Buffer: x}, Y: tpm2.TPM2BECCParameter{Buffer: y}})
		return area
	}
	rsaKey := func(n []byte, changes ...func(*tpm2.TPMSRSAParms)) tpm2.TPMTPublic {
		area := rsaTemplate(2048)
		params, _ := area.Parameters.RSADetail()
		own := *params
		for _, change := range changes {
			change(&own)
		}
		area.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &own)
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: n})
		return area
	}
	bits := func(n tpm2.TPMKeyBits) func(*tpm2.TPMSRSAParms) {
		return func(p *tpm2.TPMSRSAParms) { p.KeyBits = n }
	}
	exponent := func(e uint32) func(*tpm2.TPMSRSAParms) {
		return func(p *tpm2.TPMSRSAParms) { p.Exponent = e }
	}
	for name, c := range map[string]struct {
		area tpm2.TPMTPublic
		err  error // nil: none
	}{
		"P-256":                   {ecc(x, y), nil},
		"X longer than the curve": {ecc(append([]byte{0}, x...), y), errMalformed},
		"Y longer than the curve": {ecc(x, bytes.Repeat([]byte{1}, 100)), errMalformed},
		"point not on the curve":  {ecc(x, x), errMalformed},
		"no point":                {ecc(nil, nil), errMalformed},
		"P-256 as SM2":            {ecc(x, y, func(p *tpm2.TPMSECCParms) { p.CurveID = 0x20 }), errors.ErrUnsupported},
		"P-256 as BN P-256":       {ecc(x, y, func(p *tpm2.TPMSECCParms) { p.CurveID = tpm2.TPMECCBNP256 }), errors.ErrUnsupported},
		"P-256 as P-384":          {ecc(x, y, func(p *tpm2.TPMSECCParms) { p.CurveID = tpm2.TPMECCNistP384 }), errMalformed},
		"RSA":                     {rsaKey(modulus), nil},
		"RSA with leading zeros":  {rsaKey(append([]byte{0, 0}, modulus...)), nil},
		"RSA of another size":     {rsaKey(modulus[1:]), errMalformed},
		"RSA without modulus":     {rsaKey(nil), errMalformed},
		"RSA of 512 bits":         {rsaKey(modulus[:64], bits(512)), errMalformed},
		"RSA of 8192 bits":        {rsaKey(append(modulus, make([]byte, 768)...), bits(8192)), errMalformed},
		"RSA exponent 3":          {rsaKey(modulus, exponent(3)), nil},
		"RSA exponent 1":          {rsaKey(modulus, exponent(1)), errMalformed},
		"RSA exponent even":       {rsaKey(modulus, exponent(65536)), errMalformed},
		"RSA exponent of 32 bits": {rsaKey(modulus, exponent(1<<31+1)), errMalformed},
		"RSA modulus even":        {rsaKey(append(bytes.Clone(modulus[:255]), 0x10)), errMalformed},
		"symmetric key":           {tpm2.TPMTPublic{Type: tpm2.TPMAlgSymCipher}, errors.ErrUnsupported},
		"sealed data":             {tpm2.TPMTPublic{Type: tpm2.TPMAlgKeyedHash}, errors.ErrUnsupported},
		"RSA with type ECC":       {func() tpm2.TPMTPublic { a := rsaKey(modulus); a.Type = tpm2.TPMAlgECC; return a }(), errMalformed},
		"ECC with type RSA":       {func() tpm2.TPMTPublic { a := ecc(x, y); a.Type = tpm2.TPMAlgRSA; return a }(), errMalformed},
	} {
		o, err := signingKey(c.area)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, want %v", name, err, c.err)
		}
		if err != nil && signer.Hint(err) == "" {
			t.Errorf("%s: no hint in %v", name, err)
		}
		switch pub := o.pub.(type) {
		case *ecdsa.PublicKey:
			if !pub.Equal(ec) {
				t.Errorf("%s: another key", name)
			}
		case *rsa.PublicKey:
			if pub.N.Cmp(new(big.Int).SetBytes(modulus)) != 0 {
				t.Errorf("%s: another key", name)
			}
		}
	}
	// X and Y without their leading zeros are the same point.
	for {
		key := signertest.NewKey(t, "p256").Public().(*ecdsa.PublicKey)
		b, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if b[1] != 0 && b[33] != 0 {
			continue
		}
		o, err := signingKey(ecc(bytes.TrimLeft(b[1:33], "\x00"), bytes.TrimLeft(b[33:], "\x00")))
		if err != nil || !key.Equal(o.pub) {
			t.Errorf("%x: error %v", b, err)
		}
		break
	}
}

func TestSigningKeyByAttributes(t *testing.T) {
	modulus := append([]byte{0xc5}, bytes.Repeat([]byte{0x11}, 255)...)
	null, ssa := tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgNull}, tpm2.TPMTRSAScheme{Scheme: tpm2.TPMAlgRSASSA, Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgRSASSA, &tpm2.TPMSSigSchemeRSASSA{HashAlg: tpm2.TPMAlgSHA384})}
	for _, c := range []struct {
		sign, decrypt, restricted bool
		scheme                    tpm2.TPMTRSAScheme
		ok, raw                   bool
	}{
		{sign: true, scheme: null, ok: true},
		{sign: true, decrypt: true, scheme: null, ok: true, raw: true},
		{decrypt: true, scheme: null, ok: true, raw: true},
		{scheme: null},
		{sign: true, restricted: true, scheme: null},
		{decrypt: true, restricted: true, scheme: null},
		{sign: true, decrypt: true, restricted: true, scheme: null},
		{sign: true, scheme: ssa, ok: true},
		{decrypt: true, scheme: ssa},
	} {
		area := rsaTemplate(2048)
		area.ObjectAttributes.SignEncrypt, area.ObjectAttributes.Decrypt, area.ObjectAttributes.Restricted = c.sign, c.decrypt, c.restricted
		area.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: 2048, Scheme: c.scheme, Symmetric: noSymmetric})
		area.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: modulus})
		o, err := signingKey(area)
		if c.ok != (err == nil) || err == nil && o.rawRSA() != c.raw || err != nil && (!errors.Is(err, errors.ErrUnsupported) || signer.Hint(err) == "") {
			t.Errorf("%+v: error %v, raw %t", c, err, o.rawRSA())
		}
		if want := (scheme{tpm2.TPMAlgRSASSA, tpm2.TPMAlgSHA384}); err == nil && c.scheme.Scheme == tpm2.TPMAlgRSASSA && o.scheme != want {
			t.Errorf("%+v: got %v", c, o.scheme)
		}
	}
}
