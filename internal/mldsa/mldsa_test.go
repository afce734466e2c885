package mldsa

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"testing"

	library "filippo.io/mldsa"
	libraryx509 "filippo.io/mldsa/x509"
)

// sized is no ML-DSA key, but has the methods and the size of one.
type sized struct{ size int }

func (s sized) Bytes() []byte               { return make([]byte, s.size) }
func (s sized) Equal(crypto.PublicKey) bool { return false }

func TestOf(t *testing.T) {
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range knownKeys(t) {
		own, foreign := k.key.PublicKey(), k.library.PublicKey()
		for _, pub := range []crypto.PublicKey{own, foreign} {
			if key := Of(pub); key == nil || key.Parameters != k.set || !bytes.Equal(key.Bytes(), foreign.Bytes()) {
				t.Errorf("%s: %T is not recognized", k.set.Name, pub)
			}
			if !own.Equal(pub) {
				t.Errorf("%s: does not equal %T", k.set.Name, pub)
			}
		}
		for _, pub := range []crypto.PublicKey{
			nil, x25519.PublicKey(), edPublic, &edPublic, "text", 1, []byte("key"), k.library, k.key, *own,
			sized{0}, sized{32}, sized{own.PublicKeySize() - 1}, sized{own.PublicKeySize() + 1},
			(*PublicKey)(nil), (*library.PublicKey)(nil), (*ecdh.PublicKey)(nil), (*sized)(nil), ed25519.PublicKey(nil),
		} {
			if key := Of(pub); key != nil {
				t.Errorf("%T is recognized", pub)
			}
			if own.Equal(pub) {
				t.Errorf("%s equals %T", k.set.Name, pub)
			}
		}
		for _, other := range knownKeys(t) {
			if own.Equal(other.key.PublicKey()) != (k.set == other.set) {
				t.Errorf("%s and %s", k.set.Name, other.set.Name)
			}
		}
		changed := own.Bytes()
		changed[len(changed)-1] ^= 1
		if own.Equal(NewPublicKey(k.set, changed)) {
			t.Errorf("%s equals another key", k.set.Name)
		}
	}
}

// Keys do not share memory with what they are made of.
func TestPublicKeyIsImmutable(t *testing.T) {
	for _, k := range knownKeys(t) {
		want := k.library.PublicKey().Bytes()
		in := bytes.Clone(want)
		key := NewPublicKey(k.set, in)
		clear(in)
		clear(key.Bytes())
		if !bytes.Equal(key.Bytes(), want) {
			t.Errorf("%s: changed", k.set.Name)
		}
	}
}

func TestParametersFor(t *testing.T) {
	for last := range 40 {
		s := ParametersFor(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, last})
		want := map[int]string{17: "ML-DSA-44", 18: "ML-DSA-65", 19: "ML-DSA-87"}[last]
		if s == nil && want != "" || s != nil && s.Name != want {
			t.Errorf("…3.%d: %v, want %q", last, s, want)
		}
	}
	for _, id := range []asn1.ObjectIdentifier{nil, {}, {2, 16, 840, 1, 101, 3, 4, 3}, {2, 16, 840, 1, 101, 3, 4, 3, 17, 1}, {2, 16, 840, 1, 101, 3, 4, 4, 17}} {
		if s := ParametersFor(id); s != nil {
			t.Errorf("%v is %s", id, s.Name)
		}
	}
}

func der(t testing.TB, v any) []byte {
	t.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func bitString(b []byte) asn1.BitString { return asn1.BitString{Bytes: b, BitLength: 8 * len(b)} }

func TestParsePKIX(t *testing.T) {
	for _, k := range knownKeys(t) {
		own := k.key.PublicKey()
		want, err := libraryx509.MarshalPKIXPublicKey(k.library.PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := own.MarshalPKIX()
		if err != nil || !bytes.Equal(encoded, want) {
			t.Errorf("%s: MarshalPKIX differs from the library's, error %v", k.set.Name, err)
		}
		if key := ParsePKIX(want); key == nil || !key.Equal(own) {
			t.Errorf("%s: another key", k.set.Name)
		}
		raw := own.Bytes()
		spki := func(id asn1.ObjectIdentifier, parameters asn1.RawValue, key asn1.BitString) []byte {
			return der(t, publicKeyInfo{pkix.AlgorithmIdentifier{Algorithm: id, Parameters: parameters}, key})
		}
		none, id := asn1.RawValue{}, k.set.oid()
		if ParsePKIX(spki(id, none, bitString(raw))) == nil {
			t.Errorf("%s: refused what the others change", k.set.Name)
		}
		for name, in := range map[string][]byte{
			"NULL parameters":     spki(id, asn1.NullRawValue, bitString(raw)),
			"other parameters":    spki(id, asn1.RawValue{FullBytes: der(t, id)}, bitString(raw)),
			"unknown algorithm":   spki(asn1.ObjectIdentifier{1, 2, 3}, none, bitString(raw)),
			"another set":         spki(parameters[(slices.Index(parameters[:], k.set)+1)%3].oid(), none, bitString(raw)),
			"short key":           spki(id, none, bitString(raw[1:])),
			"long key":            spki(id, none, bitString(append(bytes.Clone(raw), 0))),
			"no key":              spki(id, none, bitString(nil)),
			"7 bits of a byte":    spki(id, none, asn1.BitString{Bytes: append(raw[:len(raw)-1:len(raw)-1], raw[len(raw)-1]&0xfe), BitLength: 8*len(raw) - 1}),
			"OCTET STRING":        der(t, struct{ A, B any }{pkix.AlgorithmIdentifier{Algorithm: id}, raw}),
			"trailing data":       append(bytes.Clone(want), 0),
			"a second key":        append(bytes.Clone(want), want...),
			"one element more":    der(t, struct{ A, B, C any }{pkix.AlgorithmIdentifier{Algorithm: id}, bitString(raw), 1}),
			"the bare public key": raw,
			"nothing":             nil,
		} {
			if key := ParsePKIX(in); key != nil {
				t.Errorf("%s: parsed with %s", k.set.Name, name)
			}
		}
		for size := range want {
			if key := ParsePKIX(want[:size]); key != nil {
				t.Errorf("%s: parsed the first %d bytes", k.set.Name, size)
			}
		}
	}
}

// signed returns DER like that of a certificate.
func signed(t testing.TB, content []byte, algorithm pkix.AlgorithmIdentifier, signature asn1.BitString) []byte {
	return der(t, struct {
		Content   asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: content}, algorithm, signature})
}

func TestParseSigned(t *testing.T) {
	for _, k := range knownKeys(t) {
		content := der(t, []string{"content"})
		signature, err := k.key.Sign(nil, content, nil)
		if err != nil {
			t.Fatal(err)
		}
		algorithm := pkix.AlgorithmIdentifier{Algorithm: k.set.oid()}
		whole := signed(t, content, algorithm, bitString(signature))
		verifies := func(in []byte) bool {
			s, ok := ParseSigned(in)
			return ok && s.By(k.key.PublicKey())
		}
		s, ok := ParseSigned(whole)
		if !ok || !bytes.Equal(s.ToBeSigned, content) || s.Parameters != k.set || !bytes.Equal(s.Signature, signature) || !verifies(whole) {
			t.Errorf("%s: does not verify", k.set.Name)
		}
		for _, other := range knownKeys(t) {
			if other.set != k.set && s.By(other.key.PublicKey()) {
				t.Errorf("%s: by a key for %s", k.set.Name, other.set.Name)
			}
		}
		if s.By(nil) {
			t.Errorf("%s: by no key", k.set.Name)
		}
		for size := range whole {
			if _, ok := ParseSigned(whole[:size]); ok {
				t.Errorf("%s: parsed the first %d bytes", k.set.Name, size)
			}
		}
		for at := range whole {
			if at > 100 && at < len(whole)-100 && at%64 != 0 { // inside of the signature
				continue
			}
			for _, change := range []byte{1, 0x80, 0xff} {
				in := bytes.Clone(whole)
				in[at] ^= change
				if verifies(in) {
					t.Errorf("%s: verifies after a change of byte %d by %#x", k.set.Name, at, change)
				}
			}
		}
		withNull := algorithm
		withNull.Parameters = asn1.NullRawValue
		for name, in := range map[string][]byte{
			"trailing data":     append(bytes.Clone(whole), 0),
			"NULL parameters":   signed(t, content, withNull, bitString(signature)),
			"unknown algorithm": signed(t, content, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 112}}, bitString(signature)),
			"7 bits of a byte":  signed(t, content, algorithm, asn1.BitString{Bytes: append(signature[:len(signature)-1:len(signature)-1], 0), BitLength: 8*len(signature) - 1}),
			"one element more": der(t, []asn1.RawValue{
				{FullBytes: content}, {FullBytes: der(t, algorithm)}, {FullBytes: der(t, bitString(signature))}, {FullBytes: content},
			}),
			"nothing": nil,
		} {
			if _, ok := ParseSigned(in); ok {
				t.Errorf("%s: parsed with %s", k.set.Name, name)
			}
		}
	}
}

// What is too short or too long takes no time.
func TestVerifySize(t *testing.T) {
	for _, k := range knownKeys(t) {
		key := k.key.PublicKey()
		for _, size := range []int{0, 1, key.signatureSize() - 1, key.signatureSize() + 1, 1 << 20} {
			signature := make([]byte, size)
			if allocations := testing.AllocsPerRun(1, func() {
				if key.Verify(nil, signature) {
					t.Errorf("%s: a signature of %d bytes", k.set.Name, size)
				}
			}); allocations > 0 {
				t.Errorf("%s: %v allocations for %d bytes", k.set.Name, allocations, size)
			}
		}
		for _, b := range [][]byte{nil, {}, make([]byte, key.PublicKeySize()-1), make([]byte, key.PublicKeySize()+1)} {
			if NewPublicKey(k.set, b) != nil {
				t.Errorf("%s: a key of %d bytes", k.set.Name, len(b))
			}
		}
	}
}

func algorithmOf(s *Parameters) pkix.AlgorithmIdentifier {
	return pkix.AlgorithmIdentifier{Algorithm: s.oid()}
}
