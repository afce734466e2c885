package file

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"filippo.io/mldsa"
	"filippo.io/mldsa/mldsacrypto"

	"github.com/holdfast-dev/holdfast/internal/mldsa/mldsatest"
)

// mldsaSets are in the order of their object identifiers.
var mldsaSets = []mldsa.Parameters{mldsa.MLDSA44(), mldsa.MLDSA65(), mldsa.MLDSA87()}

func indexOfSet(name string) int {
	return slices.IndexFunc(mldsaSets, func(p mldsa.Parameters) bool { return p.String() == name })
}

// An mldsaKey is a key of the vectors in both forms.
type mldsaKey struct {
	mldsatest.Group
	id asn1.ObjectIdentifier
}

// knownMLDSA returns one key for each parameter set, in their order.
func knownMLDSA(t testing.TB) (keys []mldsaKey) {
	t.Helper()
	for _, k := range allMLDSA(t) {
		if k.Expanded != nil && (len(keys) == 0 || keys[len(keys)-1].Set != k.Set) {
			keys = append(keys, k)
		}
	}
	if len(keys) != len(mldsaSets) {
		t.Fatalf("keys for %d parameter sets", len(keys))
	}
	return keys
}

// allMLDSA returns the valid private keys with a seed.
func allMLDSA(t testing.TB) (keys []mldsaKey) {
	t.Helper()
	for _, g := range mldsatest.Groups(t) {
		if g.Seed != nil && g.Tests[0].Valid {
			keys = append(keys, mldsaKey{g, asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 3, 17 + indexOfSet(g.Set)}})
		}
	}
	return keys
}

// inner returns the privateKey of PKCS #8 in each form (RFC 9881, section 6).
func (k mldsaKey) inner(t testing.TB) map[string][]byte {
	t.Helper()
	forms := map[string][]byte{"seed": der(t, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: k.Seed})}
	if k.Expanded != nil {
		forms["expanded"], forms["both"] = der(t, k.Expanded), der(t, seq{k.Seed, k.Expanded})
	}
	return forms
}

// forms returns PKCS #8 in each form.
func (k mldsaKey) forms(t testing.TB) map[string][]byte {
	t.Helper()
	forms := map[string][]byte{}
	for name, inner := range k.inner(t) {
		forms[name] = der(t, seq{0, seq{k.id}, inner})
	}
	return forms
}

func (k mldsaKey) public(t testing.TB) *mldsa.PublicKey {
	t.Helper()
	private, err := mldsa.NewPrivateKey(mldsaSets[indexOfSet(k.Set)], k.Seed)
	if err != nil {
		t.Fatal(err)
	}
	return private.PublicKey()
}

func TestMLDSAKnownAnswers(t *testing.T) {
	for _, k := range allMLDSA(t) {
		forms := k.forms(t)
		if k.PKCS8 != nil && !bytes.Equal(forms["seed"], k.PKCS8) {
			t.Errorf("%s %s: the form of the vectors differs", k.Set, k.Tests[0].Comment)
		}
		for name, data := range forms {
			t.Run(fmt.Sprintf("%s %s %s", k.Set, k.Tests[0].Comment, name), func(t *testing.T) {
				checkKnownAnswers(t, k, data)
			})
		}
	}
}

func checkKnownAnswers(t *testing.T, k mldsaKey, data []byte) {
	s, err := open(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !k.public(t).Equal(s.Public()) {
		t.Fatal("another public key")
	}
	for _, test := range k.Tests {
		if test.Mu != nil || test.Random != nil { // no caller can choose these
			continue
		}
		signature, err := s.Sign(nil, test.Message, crypto.Hash(0))
		if hash := sha256.Sum256(signature); err != nil || !bytes.Equal(hash[:], test.Hash) {
			t.Errorf("%s: another signature, error %v", test.Comment, err)
		}
	}
	message := []byte("message")
	seen := map[string]bool{}
	for range 2 {
		signature, err := s.Sign(rand.Reader, message, crypto.Hash(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := mldsa.Verify(k.public(t), message, signature, nil); err != nil {
			t.Error(err)
		}
		seen[string(signature)] = true
	}
	if len(seen) != 2 {
		t.Error("signatures with random data are the same")
	}
}

func TestMLDSAFiles(t *testing.T) {
	for _, k := range knownMLDSA(t) {
		for name, data := range k.forms(t) {
			inner := k.inner(t)[name]
			block := func(blockType string, b []byte) []byte {
				return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: b})
			}
			enc := encrypt(t, data, "x").der(t)
			for format, file := range map[string][]byte{
				"PEM": block("PRIVATE KEY", data), "encrypted": enc, "encrypted PEM": block("ENCRYPTED PRIVATE KEY", enc),
				"encrypted BER": indefinite(t, enc), "PKCS #12": plainPFX(t, bag(t, 1, data, "key")),
				"BER": indefinite(t, data), "BER inside": der(t, seq{0, seq{k.id}, indefinite(t, inner)}),
				"BER in BER":           indefinite(t, der(t, seq{0, seq{k.id}, indefinite(t, inner)})),
				"version 2 and public": der(t, seq{1, seq{k.id}, inner, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: append([]byte{0}, k.public(t).Bytes()...)}}),
			} {
				s, err := open(t.Context(), file)
				if err != nil {
					t.Errorf("%s, %s, %s: %v", k.Set, name, format, err)
					continue
				}
				defer s.Close()
				signature, err := s.Sign(nil, k.Tests[0].Message, crypto.Hash(0))
				if hash := sha256.Sum256(signature); err != nil || !bytes.Equal(hash[:], k.Tests[0].Hash) {
					t.Errorf("%s, %s, %s: another signature, error %v", k.Set, name, format, err)
				}
			}
		}
	}
}

func TestMLDSABadInput(t *testing.T) {
	keys := knownMLDSA(t)
	for i, k := range keys {
		other := keys[(i+1)%len(keys)]
		file := func(inner []byte, parameters ...any) []byte {
			return der(t, seq{0, append(seq{k.id}, parameters...), inner})
		}
		seed := func(b []byte) []byte {
			return der(t, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: b})
		}
		changed := func(b []byte, at int) []byte {
			b = bytes.Clone(b)
			b[at] ^= 1
			return b
		}
		longer := func(b []byte) []byte { return append(bytes.Clone(b), 0) }
		const damaged, numbers, mismatch = "damaged", "contradict each other", "seed"
		for name, test := range map[string]struct {
			in   []byte
			want string // in the error
		}{
			"another seed":                       {file(der(t, seq{changed(k.Seed, 0), k.Expanded})), mismatch},
			"another seed at its end":            {file(der(t, seq{changed(k.Seed, 31), k.Expanded})), mismatch},
			"another K":                          {file(der(t, seq{k.Seed, changed(k.Expanded, 32)})), mismatch},
			"another K at its end":               {file(der(t, seq{k.Seed, changed(k.Expanded, 63)})), mismatch},
			"another rho in both":                {file(der(t, seq{k.Seed, changed(k.Expanded, 0)})), numbers},
			"another public key after it":        {file(der(t, append(bytes.Clone(k.Expanded), changed(k.public(t).Bytes(), 9)...))), numbers},
			"another rho":                        {file(der(t, changed(k.Expanded, 0))), numbers},
			"another hash of the public key":     {file(der(t, changed(k.Expanded, 64))), numbers},
			"another s1":                         {file(der(t, changed(k.Expanded, 128))), numbers},
			"another t0":                         {file(der(t, changed(k.Expanded, len(k.Expanded)-1))), numbers},
			"no seed":                            {file(seed(nil)), damaged},
			"short seed":                         {file(seed(k.Seed[1:])), damaged},
			"long seed":                          {file(seed(longer(k.Seed))), damaged},
			"short expanded key":                 {file(der(t, k.Expanded[1:])), damaged},
			"long expanded key":                  {file(der(t, longer(k.Expanded))), damaged},
			"expanded key of another set":        {file(der(t, other.Expanded)), damaged},
			"both with another set":              {file(der(t, seq{k.Seed, other.Expanded})), damaged},
			"both with a short seed":             {file(der(t, seq{k.Seed[1:], k.Expanded})), damaged},
			"both with an empty seed":            {file(der(t, seq{[]byte{}, k.Expanded})), damaged},
			"both with a short expanded key":     {file(der(t, seq{k.Seed, k.Expanded[1:]})), damaged},
			"both with an empty expanded key":    {file(der(t, seq{k.Seed, []byte{}})), damaged},
			"both in another order":              {file(der(t, seq{k.Expanded, k.Seed})), damaged},
			"a sequence of one":                  {file(der(t, seq{k.Seed})), damaged},
			"a sequence of none":                 {file(der(t, seq{})), damaged},
			"a sequence of three":                {file(der(t, seq{k.Seed, k.Expanded, k.Seed})), damaged},
			"bytes after the seed":               {file(longer(seed(k.Seed))), damaged},
			"bytes after the expanded key":       {file(longer(der(t, k.Expanded))), damaged},
			"bytes after both":                   {file(longer(der(t, seq{k.Seed, k.Expanded}))), damaged},
			"two seeds":                          {file(append(seed(k.Seed), seed(k.Seed)...)), damaged},
			"a seed in an OCTET STRING":          {file(der(t, k.Seed)), damaged},
			"a seed with the tag [1]":            {file(der(t, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: k.Seed})), damaged},
			"a seed with the explicit tag [0]":   {file(der(t, explicitly(der(t, k.Seed)))), damaged},
			"a constructed seed":                 {file(der(t, explicitly(k.Seed))), damaged},
			"a seed in a sequence with its tag":  {file(der(t, seq{asn1.RawValue{FullBytes: seed(k.Seed)}, k.Expanded})), damaged},
			"nothing":                            {file(nil), damaged},
			"NULL parameters, seed":              {file(seed(k.Seed), asn1.NullRawValue), damaged},
			"NULL parameters, expanded key":      {file(der(t, k.Expanded), asn1.NullRawValue), damaged},
			"NULL parameters, both":              {file(der(t, seq{k.Seed, k.Expanded}), asn1.NullRawValue), damaged},
			"an object identifier as parameters": {file(seed(k.Seed), k.id), damaged},
		} {
			s, err := open(t.Context(), test.in)
			if err == nil {
				t.Errorf("%s: opened %s", k.Set, name)
				s.Close()
				continue
			}
			if !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s, %s: error %v, want one about %q", k.Set, name, err, test.want)
			}
		}
	}
}

// A truncated or changed file results in an error, or in a key that makes valid
// signatures.
func TestMLDSADamage(t *testing.T) {
	k := knownMLDSA(t)[0]
	for name, whole := range k.forms(t) {
		check := func(damage string, at int, data []byte) {
			s, err := open(t.Context(), data)
			if err != nil {
				return
			}
			defer s.Close()
			public, ok := s.Public().(*mldsa.PublicKey)
			if !ok {
				t.Errorf("%s, %s at %d: %T", name, damage, at, s.Public())
				return
			}
			signature, err := s.Sign(rand.Reader, nil, crypto.Hash(0))
			if err != nil || mldsa.Verify(public, nil, signature, nil) != nil {
				t.Errorf("%s, %s at %d: a key that cannot sign, error %v", name, damage, at, err)
			}
		}
		promptly(t, func() {
			for i := range whole {
				if _, err := open(t.Context(), whole[:i]); err == nil {
					t.Errorf("%s: opened the first %d bytes", name, i)
				}
				if i > 250 && i%50 != 0 { // in the long numbers
					continue
				}
				for _, change := range []byte{0xff, 0x01, 0x80} {
					data := bytes.Clone(whole)
					data[i] ^= change
					check("changed", i, data)
				}
			}
		})
	}
}

func TestMLDSASignOptions(t *testing.T) {
	for _, k := range knownMLDSA(t) {
		for name, data := range k.forms(t) {
			s, err := open(t.Context(), data)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			message := k.Tests[0].Message
			for _, opts := range []crypto.SignerOpts{crypto.Hash(0), &mldsa.Options{}, (*mldsa.Options)(nil)} {
				signature, err := s.Sign(nil, message, opts)
				if hash := sha256.Sum256(signature); err != nil || !bytes.Equal(hash[:], k.Tests[0].Hash) {
					t.Errorf("%s, %s, %#v: another signature, error %v", k.Set, name, opts, err)
				}
			}
			for _, opts := range []crypto.SignerOpts{&mldsa.Options{Context: "x"}, crypto.SHA256, crypto.SHA512, mldsacrypto.MLDSAMu} {
				if signature, err := s.Sign(nil, make([]byte, 64), opts); !errors.Is(err, errors.ErrUnsupported) {
					t.Errorf("%s, %s, %#v: signature of %d bytes, error %v", k.Set, name, opts, len(signature), err)
				}
			}
			if _, err := s.Sign(nil, message, nil); err == nil {
				t.Errorf("%s, %s: signed without options", k.Set, name)
			}
		}
	}
}
