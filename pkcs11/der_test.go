package pkcs11

import (
	"bytes"
	"crypto/rand"
	"encoding/asn1"
	"math/big"
	"testing"
)

// TestDERSignature compares derSignature with encoding/asn1.
func TestDERSignature(t *testing.T) {
	check := func(sig []byte) {
		t.Helper()
		n := len(sig) / 2
		want, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:])})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := derSignature(sig); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%x: %x, %v; want %x", sig, got, err, want)
		}
	}
	for _, n := range []int{1, 32, 48, 66} {
		for _, fill := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			check(bytes.Repeat([]byte{fill}, 2*n))
		}
		for range 200 {
			sig := make([]byte, 2*n)
			_, _ = rand.Read(sig)
			clear(sig[:int(sig[n])%n])
			check(sig)
		}
	}
	for _, n := range []int{0, 1, 63, 2 * 67} {
		if got, err := derSignature(make([]byte, n)); err == nil {
			t.Errorf("%d bytes: %x", n, got)
		}
	}
}
