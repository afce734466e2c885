package mldsa

import (
	"crypto"
	"crypto/rand"
	"testing"

	library "filippo.io/mldsa"
)

func BenchmarkVerify(b *testing.B) {
	for _, k := range knownKeys(b) {
		message := []byte("message")
		signature, err := k.key.Sign(nil, message, crypto.Hash(0))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(k.set.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !k.key.PublicKey().Verify(message, signature) {
					b.Fatal("does not verify")
				}
			}
		})
		b.Run(k.set.Name+", library", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := library.Verify(k.library.PublicKey(), message, signature, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Each signature has another number of attempts, so that only the mean of many says
// something.
func BenchmarkSign(b *testing.B) {
	for _, k := range knownKeys(b) {
		for name, key := range map[string]crypto.Signer{"": k.key, ", library": k.library} {
			b.Run(k.set.Name+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := key.Sign(rand.Reader, []byte("message"), crypto.Hash(0)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkParseExpanded(b *testing.B) {
	for _, k := range knownKeys(b) {
		b.Run(k.set.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseExpanded(k.set, k.expanded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
