package mldsa

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	library "filippo.io/mldsa"
)

// parts returns the sizes of the parts of an expanded key (FIPS 204, algorithm 24).
func parts(s *Parameters) (sizes []int) {
	bits := map[int32]int{2: 3, 4: 4}[s.eta]
	return []int{32, 32, 64, s.l * bits * n / 8, s.k * bits * n / 8, s.k * d * n / 8}
}

func TestParseExpandedSize(t *testing.T) {
	for _, k := range knownKeys(t) {
		for _, other := range knownKeys(t) {
			if _, err := ParseExpanded(k.set, other.expanded); (err == nil) != (k.set == other.set) || err != nil && !errors.Is(err, ErrSize) {
				t.Errorf("%s from a key for %s: error %v", k.set.Name, other.set.Name, err)
			}
		}
		for _, b := range [][]byte{nil, {}, k.expanded[:1], k.expanded[:128], k.expanded[:len(k.expanded)-1], append(bytes.Clone(k.expanded), 0)} {
			if _, err := ParseExpanded(k.set, b); !errors.Is(err, ErrSize) {
				t.Errorf("%s of %d bytes: error %v", k.set.Name, len(b), err)
			}
		}
	}
}

// The secret value K is the only part that depends on nothing but the seed, so that
// only the seed can reveal a change. The key still makes valid signatures.
func TestParseExpandedDamaged(t *testing.T) {
	names := []string{"rho", "K", "tr", "s1", "s2", "t0"}
	for _, k := range knownKeys(t) {
		at := 0
		for i, size := range parts(k.set) {
			for _, damage := range []struct {
				at  int
				bit byte
			}{{0, 1}, {0, 0x80}, {size / 2, 4}, {size - 1, 1}, {size - 1, 0x80}} {
				b := bytes.Clone(k.expanded)
				b[at+damage.at] ^= damage.bit
				key, err := ParseExpanded(k.set, b)
				if names[i] != "K" {
					if !errors.Is(err, ErrNumbers) {
						t.Errorf("%s, bit %#x of byte %d of %s: error %v", k.set.Name, damage.bit, damage.at, names[i], err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s, K: %v", k.set.Name, err)
					continue
				}
				signature, err := key.Sign(nil, []byte("message"), nil)
				if err != nil || !k.key.PublicKey().Verify([]byte("message"), signature) || !key.PublicKey().Equal(k.library.PublicKey()) {
					t.Errorf("%s, K: no signature of the same key, error %v", k.set.Name, err)
				}
			}
			at += size
		}
		if at != len(k.expanded) {
			t.Errorf("%s: the parts have %d of %d bytes", k.set.Name, at, len(k.expanded))
		}
	}
}

// The key is parsed from memory that the caller may clear.
func TestParseExpandedCopies(t *testing.T) {
	for _, k := range knownKeys(t) {
		b := bytes.Clone(k.expanded)
		key, err := ParseExpanded(k.set, b)
		if err != nil {
			t.Fatal(err)
		}
		clear(b)
		signature, err := key.Sign(nil, nil, nil)
		want, errLibrary := k.library.SignDeterministic(nil, nil)
		if err != nil || errLibrary != nil || !bytes.Equal(signature, want) {
			t.Errorf("%s: another signature; errors %v, %v", k.set.Name, err, errLibrary)
		}
	}
}

func TestSignHedged(t *testing.T) {
	for _, k := range knownKeys(t) {
		message := []byte("message")
		seen := map[string]bool{}
		for _, random := range []io.Reader{nil, nil, rand.Reader, rand.Reader} {
			signature, err := k.key.Sign(random, message, crypto.Hash(0))
			if err != nil {
				t.Fatal(err)
			}
			if err := library.Verify(k.library.PublicKey(), message, signature, nil); err != nil {
				t.Errorf("%s: %v", k.set.Name, err)
			}
			seen[string(signature)] = true
		}
		if len(seen) != 3 {
			t.Errorf("%s: %d signatures are different, want 3", k.set.Name, len(seen))
		}
	}
}

func TestSignWithoutRandomData(t *testing.T) {
	k := knownKeys(t)[0]
	broken := errors.New("broken")
	for _, test := range []struct {
		random io.Reader
		want   error
	}{
		{iotest.ErrReader(broken), broken},
		{strings.NewReader(""), io.EOF},
		{strings.NewReader("31 bytes are fewer than 32 byte"), io.ErrUnexpectedEOF},
		{iotest.OneByteReader(strings.NewReader("32 bytes, which come one by one.")), nil},
	} {
		signature, err := k.key.Sign(test.random, nil, nil)
		if !errors.Is(err, test.want) || (signature == nil) != (err != nil) {
			t.Errorf("signature of %d bytes, error %v, want %v", len(signature), err, test.want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	for _, k := range knownKeys(t) {
		want, err := k.key.Sign(nil, []byte("message"), nil)
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				for _, random := range []io.Reader{nil, rand.Reader} {
					signature, err := k.key.Sign(random, []byte("message"), nil)
					if err != nil || random == nil && !bytes.Equal(signature, want) || !k.key.PublicKey().Verify([]byte("message"), signature) {
						t.Errorf("%s: error %v", k.set.Name, err)
					}
				}
			})
		}
		group.Wait()
	}
}

// The number of attempts has a limit, so that no key lets Sign run for ever. Secret
// numbers that are too large, which ParseExpanded refuses, let every attempt fail.
func TestSignGivesUp(t *testing.T) {
	k := knownKeys(t)[0]
	for name, damage := range map[string]func(*ExpandedKey){
		"s1": func(key *ExpandedKey) { key.s1 = key.a[0] },
		"t0": func(key *ExpandedKey) { key.t0 = key.a[0] },
	} {
		key := *k.key
		damage(&key)
		if signature, err := key.Sign(nil, nil, nil); !errors.Is(err, errNoSolution) || signature != nil {
			t.Errorf("%s: signature of %d bytes, error %v", name, len(signature), err)
		}
	}
}

// A signature that does not verify, as after a fault of the processor, could reveal
// the private key.
func TestSignChecksSignature(t *testing.T) {
	for _, k := range knownKeys(t) {
		key := *k.key
		key.s1 = k.key.s1.clone().each((*poly).inverseNTT)
		key.s1[0][0] = add(key.s1[0][0], 1)
		key.s1.each((*poly).ntt)
		if signature, err := key.Sign(nil, nil, nil); !errors.Is(err, errFault) || signature != nil {
			t.Errorf("%s: signature of %d bytes, error %v", k.set.Name, len(signature), err)
		}
	}
}
