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
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func TestParsePublic(t *testing.T) {
	for _, kind := range []string{"rsa2048", "rsa3072", "p256", "p384", "p521", "ed25519"} {
		pub := signertest.Key(t, kind).Public()
		values := publicAttributes(pub)
		typ, err := ulong(values[ckaKeyType])
		if err != nil {
			t.Fatal(err)
		}
		forms := []map[uint][]byte{values}
		if kind[:3] == "rsa" {
			forms = append(forms, with(values, ckaModulus, append([]byte{0, 0}, values[ckaModulus]...),
				ckaPublicExponent, append(make([]byte, 9), values[ckaPublicExponent]...)))
		} else {
			forms = append(forms, with(values, ckaECPoint, octetString(values[ckaECPoint], 0))) // raw
		}
		for _, v := range forms {
			if got, err := parsePublic(typ, v); err != nil || !signer.SamePublicKey(got, pub) {
				t.Errorf("%s: %v, error %v", kind, got, err)
			}
		}
	}
}

// An uncompressed point begins with the tag of an OCTET STRING. For one key in
// 256 the next byte also looks like the right length.
func TestRawPointLookingLikeDER(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384()} {
		size := (curve.Params().BitSize + 7) / 8
		var pub *ecdsa.PublicKey
		for x := big.NewInt(0); pub == nil; x.Add(x, big.NewInt(1)) {
			compressed := make([]byte, 1+size)
			compressed[0] = 2
			x.FillBytes(compressed[1:])
			compressed[1] = byte(2*size - 1)
			if px, py := elliptic.UnmarshalCompressed(curve, compressed); px != nil {
				point := make([]byte, 1+2*size)
				point[0] = 4
				px.FillBytes(point[1 : 1+size])
				py.FillBytes(point[1+size:])
				var err error
				if pub, err = ecdsa.ParseUncompressedPublicKey(curve, point); err != nil {
					t.Fatal(err)
				}
			}
		}
		raw, err := pub.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		var inner []byte
		if rest, err := asn1.Unmarshal(raw, &inner); err != nil || len(rest) > 0 {
			t.Fatalf("the point does not look like DER: %v", err)
		}
		values := publicAttributes(pub)
		for name, point := range map[string][]byte{"raw": raw, "in DER": derOctets(raw)} {
			values[ckaECPoint] = point
			if got, err := ecKey(values); err != nil || !signer.SamePublicKey(got, pub) {
				t.Errorf("%s point: error %v", name, err)
			}
		}
	}
}

func TestMalformedAttributes(t *testing.T) {
	rsaPub := publicAttributes(signertest.Key(t, "rsa2048").Public())
	ecPub := publicAttributes(signertest.Key(t, "p256").Public())
	edPub := publicAttributes(signertest.Key(t, "ed25519").Public())
	raw := octetString(ecPub[ckaECPoint], 0)
	offCurve := bytes.Clone(raw)
	offCurve[len(offCurve)-1] ^= 1
	infinity := make([]byte, len(raw))
	infinity[0] = 4
	evenModulus := bytes.Clone(rsaPub[ckaModulus])
	evenModulus[len(evenModulus)-1] &^= 1
	odd := bytes.Repeat([]byte{0xff}, maxRSABits/8+1)
	for _, test := range []struct {
		name   string
		kind   uint
		values map[uint][]byte
	}{
		{"RSA without attributes", ckkRSA, nil},
		{"RSA without modulus", ckkRSA, with(rsaPub, ckaModulus, []byte{})},
		{"RSA with modulus 0", ckkRSA, with(rsaPub, ckaModulus, []byte{0, 0, 0})},
		{"RSA with an even modulus", ckkRSA, with(rsaPub, ckaModulus, evenModulus)},
		{"RSA with a small modulus", ckkRSA, with(rsaPub, ckaModulus, odd[:63])},
		{"RSA with a huge modulus", ckkRSA, with(rsaPub, ckaModulus, odd)},
		{"RSA with a modulus of 1 MiB", ckkRSA, with(rsaPub, ckaModulus, bytes.Repeat([]byte{0xff}, 1<<20))},
		{"RSA without exponent", ckkRSA, with(rsaPub, ckaPublicExponent, []byte{})},
		{"RSA with exponent 0", ckkRSA, with(rsaPub, ckaPublicExponent, []byte{0})},
		{"RSA with exponent 1", ckkRSA, with(rsaPub, ckaPublicExponent, []byte{1})},
		{"RSA with exponent 2", ckkRSA, with(rsaPub, ckaPublicExponent, []byte{2})},
		{"RSA with an even exponent", ckkRSA, with(rsaPub, ckaPublicExponent, []byte{1, 0, 0})},
		{"RSA with an exponent of 32 bits", ckkRSA, with(rsaPub, ckaPublicExponent, []byte{0x80, 0, 0, 1})},
		{"RSA with a huge exponent", ckkRSA, with(rsaPub, ckaPublicExponent, odd)},
		{"EC without attributes", ckkEC, nil},
		{"EC without curve", ckkEC, with(ecPub, ckaECParams, []byte{})},
		{"EC on another curve", ckkEC, with(ecPub, ckaECParams, []byte("\x06\x05\x2b\x81\x04\x00\x0a"))}, // secp256k1
		{"EC on P-384 with a point of P-256", ckkEC, with(ecPub, ckaECParams, []byte("\x06\x05\x2b\x81\x04\x00\x22"))},
		{"EC with garbage as curve", ckkEC, with(ecPub, ckaECParams, odd)},
		{"EC without point", ckkEC, with(ecPub, ckaECPoint, []byte{})},
		{"EC with an empty point", ckkEC, with(ecPub, ckaECPoint, []byte{4, 0})},
		{"EC with the point at infinity", ckkEC, with(ecPub, ckaECPoint, []byte{4, 1, 0})},
		{"EC with the point 0, 0", ckkEC, with(ecPub, ckaECPoint, infinity)},
		{"EC with a compressed point", ckkEC, with(ecPub, ckaECPoint, derOctets(append([]byte{2}, raw[1:33]...)))},
		{"EC with a point off the curve", ckkEC, with(ecPub, ckaECPoint, offCurve)},
		{"EC with a point off the curve in DER", ckkEC, with(ecPub, ckaECPoint, derOctets(offCurve))},
		{"EC with a point that is too long", ckkEC, with(ecPub, ckaECPoint, derOctets(append(bytes.Clone(raw), 0)))},
		{"EC with a length that is absurd", ckkEC, with(ecPub, ckaECPoint, append([]byte{4, 0x84, 0xff, 0xff, 0xff, 0xff}, raw...))},
		{"EC with a point of 1 MiB", ckkEC, with(ecPub, ckaECPoint, bytes.Repeat([]byte{4}, 1<<20))},
		{"Edwards without point", ckkECEdwards, nil},
		{"Edwards with a short point", ckkECEdwards, with(edPub, ckaECPoint, derOctets(make([]byte, 31)))},
		{"Edwards with Ed448's size", ckkECEdwards, with(edPub, ckaECPoint, derOctets(make([]byte, 57)))},
		{"a key of another type", 0x10, rsaPub},
	} {
		if pub, err := parsePublic(test.kind, test.values); err == nil {
			t.Errorf("%s: got %v, want an error", test.name, pub)
		}
	}
}

func TestUlong(t *testing.T) {
	if n, err := ulong(ulongBytes(ckoPrivateKey)); err != nil || n != ckoPrivateKey {
		t.Errorf("%d, error %v", n, err)
	}
	for _, n := range []int{0, 1, 2, 3, 5, 7, 9, 1 << 16} {
		if v, err := ulong(make([]byte, n)); err == nil {
			t.Errorf("%d bytes: got %d, want an error", n, v)
		}
	}
}

// Malformed data from a token is ignored or causes an error, but no panic and
// no leak.
func TestMalformedTokenData(t *testing.T) {
	huge := bytes.Repeat([]byte{0xa5}, 64<<10)
	for _, test := range []struct {
		name string
		make func(token *fakeToken, key *fakeObject)
		ok   bool
	}{
		{"key type of 3 bytes", func(_ *fakeToken, o *fakeObject) { o.values[ckaKeyType] = []byte{3, 0, 0} }, false},
		{"no key type", func(_ *fakeToken, o *fakeObject) { delete(o.values, ckaKeyType) }, false},
		{"key type unknown", func(_ *fakeToken, o *fakeObject) { o.values[ckaKeyType] = ulongBytes(0x1234) }, false},
		{"ID of 64 KiB", func(token *fakeToken, o *fakeObject) {
			o.values[ckaID], token.objects[0].values[ckaID] = huge, huge
		}, true},
		{"label of 64 KiB", func(_ *fakeToken, o *fakeObject) { o.values[ckaLabel] = huge }, true},
		{"public key info that is garbage", func(_ *fakeToken, o *fakeObject) { o.values[ckaPublicKeyInfo] = huge }, true},
		{"certificate that is garbage", func(token *fakeToken, _ *fakeObject) { token.addCertificate(huge, "key", "\x01") }, true},
		{"certificate that is empty", func(token *fakeToken, _ *fakeObject) { token.addCertificate(nil, "key", "\x01") }, true},
		{"certificate of 1 MiB", func(token *fakeToken, _ *fakeObject) {
			token.addCertificate(bytes.Repeat([]byte{0x30}, 1<<20), "key", "\x01")
		}, true},
		{"5000 objects", func(token *fakeToken, _ *fakeObject) {
			for range 5000 {
				token.addCertificate([]byte{0x30}, "other", "\x09")
			}
		}, true},
		{"public key of another type", func(token *fakeToken, _ *fakeObject) {
			token.objects[0].values[ckaKeyType] = ulongBytes(ckkRSA)
		}, false},
		{"public key with a point off the curve", func(token *fakeToken, _ *fakeObject) {
			token.objects[0].values[ckaECPoint] = bytes.Repeat([]byte{4}, 65)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := newFakeToken("hsm")
			o := token.addKey(signertest.Key(t, "p256"), "key", "\x01")
			test.make(token, o)
			b := newFixture(t, token)
			k, err := b.open(t, "pkcs11:", Config{PIN: fixedPIN(fakePIN)})
			if (err == nil) != test.ok {
				t.Errorf("error %v", err)
			}
			if k != nil {
				if err := signOnce(k); err != nil {
					t.Error(err)
				}
				if err := k.Close(); err != nil {
					t.Error(err)
				}
			}
			if b.opened != b.closed {
				t.Errorf("%d sessions opened, %d closed", b.opened, b.closed)
			}
		})
	}
}

func FuzzAttributes(f *testing.F) {
	for _, kind := range []string{"rsa2048", "p256", "p384", "p521", "ed25519"} {
		key := signertest.Key(f, kind)
		v := publicAttributes(key.Public())
		info, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			f.Fatal(err)
		}
		cert := issue(f, key).Raw
		f.Add(v[ckaKeyType], v[ckaModulus], v[ckaPublicExponent], v[ckaECParams], v[ckaECPoint], info, cert)
		f.Add(v[ckaKeyType], v[ckaModulus], v[ckaPublicExponent], v[ckaECParams], v[ckaECPoint], []byte(nil), cert)
	}
	f.Fuzz(func(t *testing.T, keyType, modulus, exponent, ecParams, ecPoint, info, cert []byte) {
		values := map[uint][]byte{ckaKeyType: keyType, ckaModulus: modulus, ckaPublicExponent: exponent, ckaECParams: ecParams, ckaECPoint: ecPoint}
		if kind, err := ulong(keyType); err == nil {
			if pub, err := parsePublic(kind, values); err == nil {
				checkPublic(t, pub)
			}
		}
		fake := newFakeToken("hsm")
		fake.flags &^= cktFlagLoginRequired
		fake.objects = []*fakeObject{
			{values: with(values, ckaClass, ulongBytes(ckoPublicKey), ckaID, []byte{1})},
			{values: map[uint][]byte{ckaClass: ulongBytes(ckoPrivateKey), ckaKeyType: keyType, ckaID: {1}, ckaPublicKeyInfo: info}},
			{values: with(values, ckaClass, ulongBytes(ckoPrivateKey), ckaID, []byte{2}, ckaPublicKeyInfo, info)},
		}
		fake.addCertificate(cert, "", "\x01")
		module := newFake(t, fake)
		session, err := module.openSession(0, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"\x01", "\x02"} {
			key, certs, err := findKey(token{module, 0, fake.tokenInfo}, session, URI{ID: id}, nil, time.Now())
			if err != nil {
				continue
			}
			checkPublic(t, key.pub)
			if chain, err := signer.Chain(key.pub, certs, time.Now()); err == nil && !signer.SamePublicKey(chain[0].PublicKey, key.pub) {
				t.Error("the chain belongs to another key")
			}
		}
	})
}

// checkPublic fails the test if computing with the key is unsafe.
func checkPublic(t *testing.T, pub crypto.PublicKey) {
	t.Helper()
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if !validRSA(pub) {
			t.Errorf("RSA key of %d bits with exponent %d", pub.N.BitLen(), pub.E)
		}
	case *ecdsa.PublicKey:
		if _, err := pub.Bytes(); err != nil {
			t.Error(err)
		}
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			t.Errorf("Ed25519 key of %d bytes", len(pub))
		}
	default:
		t.Errorf("key of type %T", pub)
	}
	if _, err := signer.MechanismFor(pub, make([]byte, 32), crypto.SHA256); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}
