package mldsa

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"testing"

	library "filippo.io/mldsa"
	"filippo.io/mldsa/mldsacrypto"

	"github.com/holdfast-dev/holdfast/internal/mldsa/mldsatest"
)

var librarySets = []library.Parameters{library.MLDSA44(), library.MLDSA65(), library.MLDSA87()}

func setOf(tb testing.TB, name string) (*Parameters, library.Parameters) {
	tb.Helper()
	for i, s := range parameters {
		if s.Name == name && librarySets[i].String() == name {
			return s, librarySets[i]
		}
	}
	tb.Fatalf("no parameter set %q", name)
	return nil, library.Parameters{}
}

// A knownKey is a key of the vectors in both forms.
type knownKey struct {
	set      *Parameters
	expanded []byte
	key      *ExpandedKey
	library  *library.PrivateKey
}

// knownKeys returns a key of each parameter set.
func knownKeys(tb testing.TB) (keys []knownKey) {
	tb.Helper()
	for _, g := range mldsatest.Groups(tb) {
		if g.Seed == nil || g.Expanded == nil || len(keys) > 0 && keys[len(keys)-1].set.Name == g.Set {
			continue
		}
		set, librarySet := setOf(tb, g.Set)
		key, err := ParseExpanded(set, g.Expanded)
		if err != nil {
			tb.Fatal(err)
		}
		other, err := library.NewPrivateKey(librarySet, g.Seed)
		if err != nil {
			tb.Fatal(err)
		}
		keys = append(keys, knownKey{set, g.Expanded, key, other})
	}
	if len(keys) != len(parameters) {
		tb.Fatalf("keys of %d parameter sets", len(keys))
	}
	return keys
}

func TestVectors(t *testing.T) {
	for _, g := range mldsatest.Groups(t) {
		t.Run(g.Set+" "+g.Tests[0].Comment, func(t *testing.T) {
			if g.Public != nil {
				checkVerification(t, g)
			}
			if g.Seed != nil {
				checkSeed(t, g)
			}
			if len(g.Seed) == seedSize {
				set, _ := setOf(t, g.Set)
				expanded := expand(set, g.Seed)
				if g.Expanded != nil && !bytes.Equal(expanded, g.Expanded) {
					t.Error("expand makes another key")
				}
				g.Expanded = expanded
			}
			if g.Expanded != nil {
				checkExpanded(t, g)
			}
		})
	}
}

func checkVerification(t *testing.T, g mldsatest.Group) {
	set, _ := setOf(t, g.Set)
	key := NewPublicKey(set, g.Public)
	for _, test := range g.Tests {
		if isWrong := slices.Contains(test.Flags, "IncorrectPublicKeyLength"); isWrong || key == nil {
			if !isWrong || key != nil {
				t.Errorf("%s: key %v", test.Comment, key)
			}
			continue
		}
		// Signatures with a context are valid for others, but not here.
		want := test.Valid && len(test.Context) == 0
		if got := key.Verify(test.Message, test.Signature); got != want {
			t.Errorf("%s: Verify returned %t", test.Comment, got)
		}
	}
}

// checkSeed checks the verification of signatures that the library makes.
func checkSeed(t *testing.T, g mldsatest.Group) {
	set, librarySet := setOf(t, g.Set)
	private, err := library.NewPrivateKey(librarySet, g.Seed)
	for _, test := range g.Tests {
		if (err == nil) != test.Valid {
			t.Errorf("%s: error %v", test.Comment, err)
		}
		if !test.Valid || test.Random != nil {
			continue
		}
		message, opts := test.Message, crypto.SignerOpts(crypto.Hash(0))
		if test.Mu != nil {
			message, opts = test.Mu, mldsacrypto.MLDSAMu
		}
		signature, err := private.SignDeterministic(message, opts)
		if err != nil {
			t.Fatal(err)
		}
		if hash := sha256.Sum256(signature); !bytes.Equal(hash[:], test.Hash) {
			t.Errorf("%s: the library made another signature", test.Comment)
		}
		key := NewPublicKey(set, private.PublicKey().Bytes())
		if test.Mu == nil && !key.Verify(message, signature) {
			t.Errorf("%s: does not verify", test.Comment)
		}
	}
}

func checkExpanded(t *testing.T, g mldsatest.Group) {
	set, librarySet := setOf(t, g.Set)
	key, err := ParseExpanded(set, g.Expanded)
	if private, errSeed := library.NewPrivateKey(librarySet, g.Seed); errSeed == nil && err == nil {
		if !key.PublicKey().Equal(private.Public()) {
			t.Error("another public key")
		}
	}
	for _, test := range g.Tests {
		var want error
		switch {
		case slices.Contains(test.Flags, "IncorrectPrivateKeyLength"):
			want = ErrSize
		case slices.Contains(test.Flags, "InvalidPrivateKey"):
			want = ErrNumbers
		}
		if !errors.Is(err, want) || test.Valid != (err == nil) {
			t.Errorf("%s: error %v, want %v", test.Comment, err, want)
		}
		if err != nil {
			continue
		}
		signature, err := signVector(key, test)
		if err != nil {
			t.Errorf("%s: %v", test.Comment, err)
		}
		if hash := sha256.Sum256(signature); !bytes.Equal(hash[:], test.Hash) {
			t.Errorf("%s: another signature", test.Comment)
		}
	}
}

// expand derives an expanded private key from a seed (FIPS 204, algorithm 6).
func expand(s *Parameters, seed []byte) (encoded []byte) {
	h := shake256(make([]byte, 128), seed, []byte{byte(s.k), byte(s.l)})
	rho, secret, k := h[:32], h[32:96], h[96:]
	var all vector // s1 and s2 (algorithms 31 and 33)
	for r := range s.l + s.k {
		var p poly
		stream := shake256(make([]byte, 1024), secret, []byte{byte(r), 0})
		for i, at := 0, 0; i < n; at++ {
			half := uint32(stream[at/2] >> (4 * (at % 2)) & 15)
			if s.eta == 2 && half < 15 {
				half %= 5
			} else if s.eta == 2 || half > 8 {
				continue
			}
			p[i] = sub(uint32(s.eta), half)
			i++
		}
		all = append(all, p)
	}
	t := s.expandA(rho).times(all[:s.l].clone().each((*poly).ntt)).each((*poly).inverseNTT).plus(all[s.l:])
	public := bytes.Clone(rho)
	t0s := make(vector, s.k)
	for i := range t {
		var t1 poly
		for j := range t[i] {
			t1[j], t0s[i][j] = power2Round(t[i][j])
		}
		public = t1.pack(public, 23-d)
	}
	encoded = slices.Concat(rho, k, shake256(make([]byte, 64), public))
	for _, p := range all {
		packed := p.from(s.eta)
		encoded = packed.pack(encoded, map[int32]int{2: 3, 4: 4}[s.eta])
	}
	for _, p := range t0s {
		packed := p.from(1 << (d - 1))
		encoded = packed.pack(encoded, d)
	}
	return encoded
}

func signVector(key *ExpandedKey, test mldsatest.Test) ([]byte, error) {
	if test.Mu != nil {
		random := make([]byte, seedSize)
		copy(random, test.Random)
		return key.sign(test.Mu, shake256(make([]byte, 64), key.seed, random, test.Mu))
	}
	var random io.Reader
	if test.Random != nil {
		random = bytes.NewReader(test.Random)
	}
	return key.Sign(random, test.Message, crypto.Hash(0))
}

// The selection has each kind of flaw and of limit for each parameter set.
func TestVectorsCoverFlaws(t *testing.T) {
	for _, s := range parameters {
		seen := map[string]bool{}
		valid, invalid := 0, 0
		for _, g := range mldsatest.Groups(t) {
			for _, test := range g.Tests {
				if g.Set != s.Name {
					continue
				}
				for _, flag := range test.Flags {
					seen[flag] = true
				}
				if test.Valid {
					valid++
				} else {
					invalid++
				}
			}
		}
		for _, flag := range []string{
			"BoundaryCondition", "IncorrectPrivateKeyLength", "IncorrectPublicKeyLength", "IncorrectSignatureLength", "InfinityNormViolation",
			"Internal", "InvalidContext", "InvalidHintsEncoding", "InvalidPrivateKey", "InvalidSignature", "ManySteps", "ModifiedSignature",
			"Randomized", "ValidSignature", "ZeroPublicKey",
		} {
			if !seen[flag] {
				t.Errorf("%s: no test of %s", s.Name, flag)
			}
		}
		if seen["MissingReduction"] != (s.Name == "ML-DSA-87") { // the others have none
			t.Errorf("%s: MissingReduction is wrong", s.Name)
		}
		if valid < 40 || invalid < 25 {
			t.Errorf("%s: %d valid and %d invalid tests", s.Name, valid, invalid)
		}
	}
}
