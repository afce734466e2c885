package file

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-dev/holdfast/keystore"
	"github.com/holdfast-dev/holdfast/signer"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

func pkcs12OID(rest ...int) asn1.ObjectIdentifier {
	return append(asn1.ObjectIdentifier{1, 2, 840, 113549, 1}, rest...)
}

func explicitly(b []byte) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: b}
}

// bag returns a SafeBag with a friendly name.
func bag(t testing.TB, kind int, value []byte, name string) seq {
	var wide []byte
	for _, c := range name {
		wide = append(wide, 0, byte(c))
	}
	values := asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: der(t, asn1.RawValue{Tag: 30, Bytes: wide})}
	attributes := asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: der(t, seq{oidFriendlyName, values})}
	return seq{pkcs12OID(12, 10, 1, kind), explicitly(value), attributes}
}

func certBag(t testing.TB, cert []byte) seq {
	return bag(t, 3, der(t, seq{oidX509, explicitly(der(t, cert))}), "cert")
}

// plainPFX returns a PKCS #12 file without MAC and encryption.
func plainPFX(t testing.TB, bags ...any) []byte {
	safe := der(t, seq{seq{oidData, explicitly(der(t, der(t, seq(bags))))}})
	return der(t, seq{3, seq{oidData, explicitly(der(t, safe))}})
}

// indefinite returns the constructed elements of der with indefinite lengths,
// and OCTET STRINGs in two parts.
func indefinite(t testing.TB, in []byte) []byte {
	var out []byte
	for len(in) > 0 {
		var v asn1.RawValue
		rest, err := asn1.Unmarshal(in, &v)
		if err != nil {
			t.Fatal(err)
		}
		switch tag := in[0]; {
		case v.IsCompound:
			out = append(append(append(out, tag, 0x80), indefinite(t, v.Bytes)...), 0, 0)
		case tag == asn1.TagOctetString:
			half := len(v.Bytes) / 2
			out = append(append(append(append(out, 0x24, 0x80), der(t, v.Bytes[:half])...), der(t, v.Bytes[half:])...), 0, 0)
		default:
			out = append(out, v.FullBytes...)
		}
		in = rest
	}
	return out
}

func TestBER(t *testing.T) {
	for name, whole := range formats(t) {
		if whole[0] != 0x30 {
			continue
		}
		s, err := open(t.Context(), indefinite(t, whole))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		s.Close()
	}
	key := keyDER(t, "p256")
	long := append([]byte{0x30, 0x84, 0, 0, 0, key[1]}, key[2:]...)
	if key[1] == 0x81 {
		long = append([]byte{0x30, 0x84, 0, 0, 0, key[2]}, key[3:]...)
	}
	if s, err := open(t.Context(), long); err != nil {
		t.Error(err)
	} else {
		s.Close()
	}
	deep := bytes.Repeat([]byte{0x30, 0x80}, 1<<20)
	promptly(t, func() {
		if _, err := open(t.Context(), deep); err == nil {
			t.Error("opened")
		}
	})
}

// RSA keys of writers that know only n, e and d.
func TestRSAWithoutPrimes(t *testing.T) {
	key := signertest.Key(t, "rsa2048").(*rsa.PrivateKey)
	for name, in := range map[string]seq{
		"primes of 0":    {0, key.N, key.E, key.D, 0, 0, 0, 0, 0},
		"missing primes": {0, key.N, key.E, key.D},
	} {
		plain := der(t, in)
		for form, file := range map[string][]byte{"PKCS #1": plain, "PKCS #8": der(t, seq{0, seq{oidRSA, asn1.NullRawValue}, plain})} {
			s, err := open(t.Context(), file)
			if err != nil || !signer.SamePublicKey(s.Public(), key.Public()) {
				t.Errorf("%s, %s: error %v", name, form, err)
			}
		}
	}
	other := new(big.Int).Add(key.D, big.NewInt(2))
	for name, in := range map[string]seq{
		"another d": {0, key.N, key.E, other, 0, 0, 0, 0, 0}, "d of 0": {0, key.N, key.E, 0, 0, 0, 0, 0, 0},
		"n of 0": {0, 0, key.E, key.D, 0, 0, 0, 0, 0}, "negative d": {0, key.N, key.E, new(big.Int).Neg(key.D), 0, 0, 0, 0, 0},
		"even n": {0, new(big.Int).Lsh(big.NewInt(1), 2048), key.E, key.D, 0, 0, 0, 0, 0}, "e of 1": {0, key.N, 1, key.D, 0, 0, 0, 0, 0},
		"n of 16384 bits": {0, oddNumber(16384, 159), key.E, key.D, 0, 0, 0, 0, 0},
	} {
		promptly(t, func() {
			if s, err := open(t.Context(), der(t, in)); err == nil {
				t.Errorf("%s: opened %v", name, s)
			}
		})
	}
}

// A scalar without its leading zeros, or with more of them.
func TestECScalars(t *testing.T) {
	curve := signertest.Key(t, "p256").(*ecdsa.PrivateKey).Curve
	for _, scalar := range [][]byte{{5}, append(make([]byte, 40), 5)} {
		s, err := open(t.Context(), der(t, seq{1, scalar, explicitly(der(t, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}))}))
		if err != nil {
			t.Fatal(err)
		}
		five, err := ecdsa.ParseRawPrivateKey(curve, append(make([]byte, 31), 5))
		if err != nil {
			t.Fatal(err)
		}
		if !s.Public().(*ecdsa.PublicKey).Equal(five.Public()) {
			t.Errorf("%x: another key", scalar)
		}
	}
	for _, scalar := range [][]byte{{}, {0}, bytes.Repeat([]byte{0xff}, 32), bytes.Repeat([]byte{1}, 33)} {
		if _, err := open(t.Context(), der(t, seq{1, scalar, explicitly(der(t, asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}))})); err == nil {
			t.Errorf("%x: opened", scalar)
		}
	}
}

// Algorithms that no program here can write.
func TestUnsupportedAlgorithmsAreNamed(t *testing.T) {
	for name, oid := range map[string]asn1.ObjectIdentifier{
		"HashML-DSA-65": {2, 16, 840, 1, 101, 3, 4, 3, 33}, "SLH-DSA-SHA2-128s": {2, 16, 840, 1, 101, 3, 4, 3, 20}, "ML-KEM-768": {2, 16, 840, 1, 101, 3, 4, 4, 2},
		"GOST R 34.10-2012": {1, 2, 643, 7, 1, 1, 1, 1}, "1.2.3.4": oidUnknown,
	} {
		_, err := open(t.Context(), der(t, seq{0, seq{oid}, []byte("0123")}))
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestSeveralKeys(t *testing.T) {
	ca := signertest.NewCA(t, "root")
	key, other := signertest.Key(t, "p256"), signertest.Key(t, "p384")
	cert, otherCert := ca.Issue(t, key, nil), ca.Issue(t, other, nil)
	keyBag, otherBag := bag(t, 1, keyDER(t, "p256"), "first"), bag(t, 1, keyDER(t, "p384"), "second")
	nested := bag(t, 6, der(t, seq{bag(t, 6, der(t, seq{keyBag, certBag(t, cert.Raw)}), "inner")}), "outer")
	crl, secret := bag(t, 4, der(t, seq{pkcs12OID(9, 23, 1), explicitly(der(t, []byte("crl")))}), "crl"), bag(t, 5, der(t, seq{1}), "secret")
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	pair := slices.Concat(signertest.KeyPEM(t, key), signertest.CertPEM(cert))
	rightKey, wrongKey := block("ENCRYPTED PRIVATE KEY", encrypt(t, keyDER(t, "p256"), "x").der(t)), block("ENCRYPTED PRIVATE KEY", encrypt(t, keyDER(t, "p384"), "y").der(t))
	foreign := encrypt(t, keyDER(t, "p384"), "x")
	foreign.cipher = oidUnknown
	rightBag, wrongBag, foreignBag := bag(t, 2, encrypt(t, keyDER(t, "p256"), "x").der(t), "right"), bag(t, 2, encrypt(t, keyDER(t, "p384"), "y").der(t), "wrong"), bag(t, 2, foreign.der(t), "foreign")
	legacy := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-128-CBC,00"}, Bytes: []byte("0")})
	for _, test := range []struct {
		name   string
		file   []byte
		wanted []byte // certificate
		err    error
	}{
		{"one key", plainPFX(t, keyBag, certBag(t, cert.Raw)), nil, nil},
		{"nested", plainPFX(t, nested), nil, nil},
		{"a CRL and a secret", plainPFX(t, crl, keyBag, secret, certBag(t, cert.Raw)), nil, nil},
		{"a certificate that cannot be read", plainPFX(t, certBag(t, []byte{0x30, 0}), keyBag, certBag(t, cert.Raw)), nil, nil},
		{"two keys and one certificate", plainPFX(t, otherBag, keyBag, certBag(t, cert.Raw)), nil, nil},
		{"two keys and the wanted certificate", plainPFX(t, otherBag, certBag(t, otherCert.Raw), keyBag, certBag(t, cert.Raw)), cert.Raw, nil},
		{"two keys and two certificates", plainPFX(t, otherBag, certBag(t, otherCert.Raw), keyBag, certBag(t, cert.Raw)), nil, signer.ErrAmbiguous},
		{"two keys", plainPFX(t, otherBag, keyBag), nil, signer.ErrAmbiguous},
		{"two other keys", plainPFX(t, otherBag, otherBag), cert.Raw, signer.ErrMismatch},
		{"no key", plainPFX(t, certBag(t, cert.Raw)), nil, signer.ErrNotFound},
		{"two keys with two passwords in PKCS #12", plainPFX(t, rightBag, wrongBag), cert.Raw, nil},
		{"two keys with two passwords in PKCS #12 in the other order", plainPFX(t, wrongBag, rightBag, certBag(t, cert.Raw)), nil, nil},
		{"two keys with two passwords in PKCS #12 and the wrong one", plainPFX(t, wrongBag, rightBag), otherCert.Raw, signer.ErrPINIncorrect},
		{"a key with another cipher in PKCS #12", plainPFX(t, foreignBag, rightBag, certBag(t, cert.Raw)), nil, nil},
		{"a key that is not encrypted beside one that is", plainPFX(t, otherBag, rightBag, certBag(t, cert.Raw)), nil, nil},
		{"a key with another cipher in PKCS #12 alone", plainPFX(t, foreignBag), nil, errors.ErrUnsupported},

		{"a DSA key", slices.Concat(pair, block("DSA PRIVATE KEY", der(t, seq{0, 1, 1, 1, 1, 1}))), nil, nil},
		{"an OpenSSH key before it", slices.Concat(block("OPENSSH PRIVATE KEY", []byte("x")), pair), nil, nil},
		{"an OpenSSH key and no certificate for the other", slices.Concat(block("OPENSSH PRIVATE KEY", []byte("x")), signertest.KeyPEM(t, key)), otherCert.Raw, errors.ErrUnsupported},
		{"a key with the legacy encryption", slices.Concat(pair, legacy), nil, nil},
		{"a key that is damaged", slices.Concat(pair, block("PRIVATE KEY", []byte("x"))), nil, nil},
		{"a key with another password", slices.Concat(wrongKey, pair), nil, nil},
		{"two keys with two passwords", slices.Concat(rightKey, wrongKey), cert.Raw, nil},
		{"two keys with two passwords in the other order", slices.Concat(wrongKey, rightKey), cert.Raw, nil},
		{"two keys with two passwords and the wrong one", slices.Concat(wrongKey, rightKey), otherCert.Raw, signer.ErrPINIncorrect},
		{"a truncated block", slices.Concat(pair, []byte("-----BEGIN CERTIFICATE-----\n!\n")), nil, nil},
		{"an empty block", slices.Concat(block("CERTIFICATE", nil), pair), nil, nil},
		{"a comment like a block", slices.Concat(pair, []byte("# -----BEGIN nothing\n")), nil, nil},
	} {
		env := map[string]string{"KEY": string(test.file), "CERT": string(test.wanted)}
		opts := keystore.Options{
			LookupEnv: func(name string) (string, bool) { return env[name], true },
			PIN:       func(context.Context, keystore.Prompt) ([]byte, error) { return []byte("x"), nil },
		}
		id := keystore.Identity{Key: keystore.Ref{Scheme: keystore.SchemeEnv, Rest: "KEY"}}
		if test.wanted != nil {
			id.Certificate = keystore.Ref{Scheme: keystore.SchemeEnv, Rest: "CERT"}
		}
		s, err := keystore.New(Backend{}).OpenIdentity(t.Context(), id, opts)
		if !errors.Is(err, test.err) || err == nil && !signer.SamePublicKey(s.Public(), key.Public()) {
			t.Errorf("%s: error %v, want %v", test.name, err, test.err)
		}
		if errors.Is(err, signer.ErrAmbiguous) && (!strings.Contains(err.Error(), `"first"`) || !strings.Contains(err.Error(), fingerprint(key.Public()))) {
			t.Errorf("%s: error %v", test.name, err)
		}
	}
	many := make([]any, maxKeys+1)
	for i := range many {
		many[i] = keyBag
	}
	if _, err := open(t.Context(), plainPFX(t, many...)); err == nil {
		t.Error("opened a file with too many keys")
	}
}
