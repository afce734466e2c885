package mldsa

import (
	"bytes"
	"testing"

	library "filippo.io/mldsa"

	"github.com/holdfast-dev/holdfast/internal/mldsa/mldsatest"
)

// FuzzVerify compares Verify with the library.
func FuzzVerify(f *testing.F) {
	for _, g := range mldsatest.Groups(f) {
		for _, test := range g.Tests {
			if test.Signature != nil {
				f.Add(g.Public, test.Message, test.Signature)
			}
		}
	}
	for _, k := range knownKeys(f) {
		signature, err := k.key.Sign(nil, []byte("message"), nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(k.key.PublicKey().Bytes(), []byte("message"), signature)
	}
	f.Fuzz(func(t *testing.T, public, message, signature []byte) {
		for i, set := range parameters {
			key := NewPublicKey(set, public)
			other, err := library.NewPublicKey(librarySets[i], public)
			if (key == nil) != (err != nil) {
				t.Fatalf("%s: key %v, but the library's error is %v", set.Name, key, err)
			}
			if key == nil {
				continue
			}
			err = library.Verify(other, message, signature, nil)
			if key.Verify(message, signature) != (err == nil) {
				t.Errorf("%s: the library's error is %v", set.Name, err)
			}
		}
	})
}

// FuzzParseExpanded lets the library verify what a parsed key signs. The fuzzer
// changes part of a valid key, because it would find no other one.
func FuzzParseExpanded(f *testing.F) {
	keys := knownKeys(f)
	for i, k := range keys {
		at := 0
		for _, size := range parts(k.set) {
			f.Add(uint8(i), at, []byte{1})
			f.Add(uint8(i), at+size-1, []byte{0x80})
			at += size
		}
		f.Add(uint8(i), 0, k.expanded) // with itself: only zeros
		f.Add(uint8(i), 32, bytes.Repeat([]byte{0x5a}, 32))
	}
	f.Fuzz(func(t *testing.T, which uint8, at int, change []byte) {
		k := keys[int(which)%len(keys)]
		b := bytes.Clone(k.expanded)
		for i, c := range change {
			if at >= 0 && at < len(b)-i {
				b[at+i] ^= c
			}
		}
		key, err := ParseExpanded(k.set, b)
		if err != nil {
			return
		}
		public, err := library.NewPublicKey(k.library.PublicKey().Parameters(), key.PublicKey().Bytes())
		if err != nil {
			t.Fatal(err)
		}
		signature, err := key.Sign(nil, change, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := library.Verify(public, change, signature, nil); err != nil {
			t.Error(err)
		}
	})
}

// FuzzDER checks that what is parsed has one encoding.
func FuzzDER(f *testing.F) {
	for _, k := range knownKeys(f) {
		spki, err := k.key.PublicKey().MarshalPKIX()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(spki)
		f.Add(signed(f, spki, algorithmOf(k.set), bitString([]byte("signature"))))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if key := ParsePKIX(in); key != nil {
			if again, err := key.MarshalPKIX(); err != nil || !bytes.Equal(again, in) {
				t.Errorf("%x becomes %x, error %v", in, again, err)
			}
		}
		if s, ok := ParseSigned(in); ok {
			if again := signed(t, s.ToBeSigned, algorithmOf(s.Parameters), bitString(s.Signature)); !bytes.Equal(again, in) {
				t.Errorf("%x becomes %x", in, again)
			}
		}
	})
}
