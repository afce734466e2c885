package attestation_test

import (
	"bytes"
	"crypto/dsa" //lint:ignore SA1019 only to name it
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/holdfast-dev/holdfast/pki/attestation"
	"github.com/holdfast-dev/holdfast/signer/signertest"
)

// TestPublicAreas has public areas that are damaged, or whose key crypto/x509 refuses.
func TestPublicAreas(t *testing.T) {
	app, _ := appKey(t).(*ecdsa.PublicKey)
	rsaKey, _ := signertest.Key(t, "rsa2048").Public().(*rsa.PublicKey)
	good := newArea(t, app, nil)
	point := func(change func(*tpm2.TPMSECCPoint)) []byte {
		return newArea(t, app, func(a *tpm2.TPMTPublic) {
			p, err := a.Unique.ECC()
			if err != nil {
				t.Fatal(err)
			}
			q := *p
			change(&q)
			a.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &q)
		})
	}
	modulus := func(n *big.Int) []byte { return newArea(t, &rsa.PublicKey{N: n}, nil) }
	exponent := func(e uint32) []byte {
		return newArea(t, rsaKey, func(a *tpm2.TPMTPublic) {
			p, err := a.Parameters.RSADetail()
			if err != nil {
				t.Fatal(err)
			}
			q := *p
			q.Exponent = e
			a.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &q)
		})
	}
	odd := func(bits uint) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.Add(n, big.NewInt(1))
	}
	sealed := tpm2.Marshal(tpm2.TPMTPublic{Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256, ObjectAttributes: generated,
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{Scheme: tpm2.TPMTKeyedHashScheme{Scheme: tpm2.TPMAlgNull}}),
		Unique:     tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{})})
	const damaged, invalidRSA, noPoint = "not a valid TPM structure", "invalid RSA key", "not on its curve"
	for _, test := range []struct {
		name string
		area []byte
		text string // in the error; "": there is none
	}{
		{"P-256", good, ""},
		{"RSA of 1024 bits", modulus(odd(1024)), ""},
		{"RSA of 4096 bits", modulus(odd(4096)), ""},
		{"exponent 3", exponent(3), ""},
		{"exponent 2^31-1", exponent(1<<31 - 1), ""},

		{"nothing", nil, damaged},
		{"one byte", good[:1], damaged},
		{"half", good[:len(good)/2], damaged},
		{"all but one byte", good[:len(good)-1], damaged},
		{"one byte too many", append(bytes.Clone(good), 0), damaged},
		{"TPM2B_PUBLIC", tpm2.Marshal(tpm2.TPM2BDigest{Buffer: good}), damaged},
		{"text", []byte("a key in a TPM"), damaged},
		{"zeros", make([]byte, 90), ""},
		{"ones", bytes.Repeat([]byte{0xff}, 90), damaged},
		{"sealed data", sealed, "unsupported public key type"},

		{"another point", point(func(p *tpm2.TPMSECCPoint) { p.Y.Buffer = bytes.Repeat([]byte{1}, 32) }), noPoint},
		{"swapped coordinates", point(func(p *tpm2.TPMSECCPoint) { p.X, p.Y = p.Y, p.X }), noPoint},
		{"a coordinate with a bit more", point(func(p *tpm2.TPMSECCPoint) { p.X.Buffer = append([]byte{1}, p.X.Buffer...) }), noPoint},
		{"the point at infinity", point(func(p *tpm2.TPMSECCPoint) { p.X.Buffer, p.Y.Buffer = nil, nil }), noPoint},
		{"zero", point(func(p *tpm2.TPMSECCPoint) { p.X.Buffer, p.Y.Buffer = make([]byte, 32), make([]byte, 32) }), noPoint},
		{"the point of another curve", newArea(t, app, func(a *tpm2.TPMTPublic) {
			p, err := a.Parameters.ECCDetail()
			if err != nil {
				t.Fatal(err)
			}
			q := *p
			q.CurveID = tpm2.TPMECCNistP384
			a.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &q)
		}), noPoint},
		{"an unknown curve", newArea(t, app, func(a *tpm2.TPMTPublic) {
			p, err := a.Parameters.ECCDetail()
			if err != nil {
				t.Fatal(err)
			}
			q := *p
			q.CurveID = 0x20
			a.Parameters = tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &q)
		}), "the public area of the key"},

		{"no modulus", modulus(big.NewInt(0)), invalidRSA},
		{"modulus 15", modulus(big.NewInt(15)), invalidRSA},
		{"RSA of 1023 bits", modulus(odd(1023)), invalidRSA},
		{"RSA of 4097 bits", modulus(odd(4097)), invalidRSA},
		{"RSA of 16384 bits", modulus(odd(16384)), invalidRSA},
		{"an even modulus", modulus(new(big.Int).Sub(odd(2048), big.NewInt(1))), invalidRSA},
		{"exponent 1", exponent(1), invalidRSA},
		{"exponent 2", exponent(2), invalidRSA},
		{"exponent 2^31", exponent(1 << 31), invalidRSA},
		{"exponent 2^32-1", exponent(1<<32 - 1), invalidRSA},
	} {
		p := newParts(t, "rsa2048")
		p.PublicArea = test.area
		e, err := attestation.New(p)
		switch {
		case test.name == "zeros" && err == nil:
			t.Errorf("zeros are a key: %v", e.Key())
		case test.name == "zeros":
			refusal{test.name, nil, attestation.ErrMalformed, "public area"}.check(t, err)
		case test.text == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.text != "":
			refusal{test.name, nil, attestation.ErrMalformed, test.text}.check(t, err)
		}
	}
}

// An endorsement key of a type that crypto/x509 knows, but that no TPM has, is parsed
// and then refused.
func TestUnsupportedEndorsementKeys(t *testing.T) {
	dsaKey := struct {
		Algorithm struct {
			OID        asn1.ObjectIdentifier
			Parameters struct{ P, Q, G *big.Int }
		}
		Key asn1.BitString
	}{}
	dsaKey.Algorithm.OID = asn1.ObjectIdentifier{1, 2, 840, 10040, 4, 1}
	dsaKey.Algorithm.Parameters.P, dsaKey.Algorithm.Parameters.Q, dsaKey.Algorithm.Parameters.G = big.NewInt(23), big.NewInt(11), big.NewInt(4)
	dsaKey.Key = asn1.BitString{Bytes: []byte{2, 1, 8}, BitLength: 24}
	spki, err := asn1.Marshal(dsaKey)
	if err != nil {
		t.Fatal(err)
	}
	if pub, err := x509.ParsePKIXPublicKey(spki); err != nil || reflect.TypeOf(pub) != reflect.TypeFor[*dsa.PublicKey]() {
		t.Fatalf("%T, %v", pub, err)
	}
	x25519, err := base64.StdEncoding.DecodeString("MCowBQYDK2VuAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=") // RFC 8410, section 10.1
	if err != nil {
		t.Fatal(err)
	}
	for name, spki := range map[string][]byte{"DSA": spki, "X25519": x25519, "Ed25519": spkiOf(t, signertest.Key(t, "ed25519").Public())} {
		p := newParts(t, "p256")
		p.EndorsementKey = spki
		e := newEvidence(t, p)
		err := e.Verify(attestation.Trust{Endorsements: []string{e.EndorsementHash()}})
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := e.Wrap(nil); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
