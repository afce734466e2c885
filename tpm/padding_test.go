package tpm

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

// rawRSA is the RSA private key operation.
func rawRSA(key *rsa.PrivateKey, em []byte) []byte {
	return new(big.Int).Exp(new(big.Int).SetBytes(em), key.D, key.N).FillBytes(make([]byte, key.Size()))
}

// newRSA returns a key whose modulus has exactly the given number of bits. With
// 1025 bits, the PSS encoding is one byte shorter than the modulus.
func newRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	if key.N.BitLen() != bits {
		t.Fatalf("the modulus has %d bits", key.N.BitLen())
	}
	return key
}

func TestPadding(t *testing.T) {
	for _, bits := range []int{1024, 1025, 1031, 2048, 3072} {
		key := newRSA(t, bits)
		for _, hash := range []crypto.Hash{crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			if !hash.Available() {
				continue
			}
			w := hash.New()
			w.Write([]byte("message"))
			digest := w.Sum(nil)
			t.Run(fmt.Sprintf("%d/%v/PKCS1v15", bits, hash), func(t *testing.T) {
				em, err := pad(&key.PublicKey, signer.Mechanism{Padding: signer.PKCS1v15, Hash: hash}, digest)
				if err != nil {
					t.Fatal(err)
				}
				if len(em) != key.Size() {
					t.Errorf("%d bytes, want %d", len(em), key.Size())
				}
				if err := rsa.VerifyPKCS1v15(&key.PublicKey, hash, digest, rawRSA(key, em)); err != nil {
					t.Error(err)
				}
			})
			largest := (bits-1+7)/8 - hash.Size() - 2 // RFC 8017, section 9.1.1, step 3
			for _, salt := range []int{0, 1, 20, 32, 64, largest} {
				if salt > largest {
					continue
				}
				t.Run(fmt.Sprintf("%d/%v/PSS/%d", bits, hash, salt), func(t *testing.T) {
					m := signer.Mechanism{Padding: signer.PSS, Hash: hash, SaltLen: salt}
					// Several times, because the leading bits are random.
					for range 8 {
						em, err := pad(&key.PublicKey, m, digest)
						if err != nil {
							t.Fatal(err)
						}
						if len(em) != key.Size() || new(big.Int).SetBytes(em).BitLen() > bits-1 {
							t.Fatalf("%d bytes of at most %d bits: %x", key.Size(), bits-1, em)
						}
						if err := rsa.VerifyPSS(&key.PublicKey, hash, digest, rawRSA(key, em), &rsa.PSSOptions{SaltLength: salt}); err != nil {
							t.Error(err)
						}
					}
				})
			}
		}
	}
}

// Each signature has a new salt.
func TestPaddingSalt(t *testing.T) {
	key := newRSA(t, 1024)
	m := signer.Mechanism{Padding: signer.PSS, Hash: crypto.SHA256, SaltLen: 32}
	var last []byte
	for range 3 {
		em, err := pad(&key.PublicKey, m, make([]byte, 32))
		if err != nil || bytes.Equal(em, last) {
			t.Errorf("%x twice, error %v", em, err)
		}
		last = em
	}
}

func TestPaddingRefuses(t *testing.T) {
	small := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 511), E: 3}
	// DigestInfo and SHA-512 have 83 bytes and the padding at least 11: one
	// byte too many for 93.
	edge := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8*93-1), E: 3}
	fits := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 8*94-1), E: 3}
	large := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 3}
	for _, c := range []struct {
		pub  *rsa.PublicKey
		hash crypto.Hash
	}{
		{small, crypto.SHA512}, // 83 bytes are longer than the modulus
		{edge, crypto.SHA512},
		{large, crypto.SHA1},
		{large, crypto.SHA3_256},
		{large, crypto.MD5},
		{large, 0},
	} {
		em, err := pad(c.pub, signer.Mechanism{Padding: signer.PKCS1v15, Hash: c.hash}, make([]byte, 64))
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v: got %x, error %v", c.hash, em, err)
		}
	}
	if _, err := padPKCS1(fits, crypto.SHA512, make([]byte, 64)); err != nil {
		t.Error(err)
	}
}
