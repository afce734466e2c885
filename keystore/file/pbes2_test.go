package file

import (
	"encoding/asn1"
	"errors"
	"math"
	"math/big"
	"runtime"
	"testing"

	"github.com/holdfast-dev/holdfast/signer"
)

func TestPBES2Bounds(t *testing.T) {
	salt := []byte("salt")
	pbkdf2 := func(rest ...any) func(*encrypted) {
		return func(e *encrypted) { e.kdf, e.kdfParams = oidPBKDF2, append(seq{salt}, rest...) }
	}
	scrypt := func(rest ...any) func(*encrypted) {
		return func(e *encrypted) { e.kdf, e.kdfParams = oidScrypt, append(seq{salt}, rest...) }
	}
	tooLarge := new(big.Int).Lsh(big.NewInt(1), 64)
	anyError := errors.New("any")

	for _, test := range []struct {
		name   string
		change func(*encrypted)
		want   error // nil: parsed
	}{
		{"unchanged", func(*encrypted) {}, nil},
		{"PBKDF2 with a length and a function", pbkdf2(1, 16, seq{oidPRF1, asn1.NullRawValue}), nil},
		{"PBKDF2 with a function without parameters", pbkdf2(1, seq{oidPRF1}), nil},
		{"PBKDF2 with an empty salt", func(e *encrypted) { e.kdfParams = seq{[]byte{}, 1} }, nil},
		{"scrypt", scrypt(2, 1, 1), nil},
		{"scrypt with a length", scrypt(2, 1, 1, 16), nil},
		{"scrypt with 128 MiB", scrypt(1<<17, 8, 1), nil},

		{"PBKDF2 with 0 iterations", pbkdf2(0), anyError},
		{"PBKDF2 with -1 iterations", pbkdf2(-1), anyError},
		{"PBKDF2 with one more than allowed", pbkdf2(maxIterations + 1), anyError},
		{"PBKDF2 with 2^31 iterations", pbkdf2(int64(1) << 31), anyError},
		{"PBKDF2 with 2^32+1 iterations", pbkdf2(int64(1)<<32 + 1), anyError},
		{"PBKDF2 with 2^62 iterations", pbkdf2(int64(1) << 62), anyError},
		{"PBKDF2 with 2^64 iterations", pbkdf2(tooLarge), anyError},
		{"PBKDF2 without iterations", pbkdf2(), anyError},
		{"PBKDF2 with a short key", pbkdf2(1, 15), anyError},
		{"PBKDF2 with a long key", pbkdf2(1, 32), anyError},
		{"PBKDF2 with a negative key", pbkdf2(1, -16), anyError},
		{"PBKDF2 with a huge key", pbkdf2(1, int64(1)<<40), anyError},
		{"PBKDF2 with another salt source", func(e *encrypted) { e.kdfParams = seq{seq{oidUnknown}, 1} }, anyError},
		{"PBKDF2 with an unknown function", pbkdf2(1, seq{oidUnknown}), errors.ErrUnsupported},
		{"PBKDF2 without parameters", func(e *encrypted) { e.kdfParams = asn1.NullRawValue }, anyError},
		{"unknown derivation", func(e *encrypted) { e.kdf = oidUnknown }, errors.ErrUnsupported},

		{"scrypt with N=0", scrypt(0, 1, 1), anyError},
		{"scrypt with N=1", scrypt(1, 1, 1), anyError},
		{"scrypt with N=-2", scrypt(-2, 1, 1), anyError},
		{"scrypt with N=3", scrypt(3, 1, 1), anyError},
		{"scrypt with N=2^30", scrypt(1<<30, 1, 1), anyError},
		{"scrypt with N=2^62", scrypt(int64(1)<<62, 1, 1), anyError},
		{"scrypt with N=-2^63", scrypt(int64(math.MinInt64), 1, 1), anyError},
		{"scrypt with r=0", scrypt(2, 0, 1), anyError},
		{"scrypt with r=-1", scrypt(2, -1, 1), anyError},
		{"scrypt with r=2^20", scrypt(2, 1<<20, 1), anyError},
		{"scrypt with r=2^20 and N=1024", scrypt(1024, 1<<20, 1), anyError},
		{"scrypt with p=0", scrypt(2, 1, 0), anyError},
		{"scrypt with p=-1", scrypt(2, 1, -1), anyError},
		{"scrypt with p=2^30", scrypt(2, 1, 1<<30), anyError},
		{"scrypt with p=2^63-1", scrypt(2, 1, int64(math.MaxInt64)), anyError},
		{"scrypt with 256 MiB", scrypt(1<<18, 8, 1), anyError},
		{"scrypt where N*r is 2^64", scrypt(int64(1)<<32, int64(1)<<32, 1), anyError},
		{"scrypt where N*r is 2^63", scrypt(int64(1)<<32, int64(1)<<31, 1), anyError},
		{"scrypt where r*p is 2^64", scrypt(2, int64(1)<<32, int64(1)<<32), anyError},
		{"scrypt with a long key", scrypt(2, 1, 1, 17), anyError},
		{"scrypt with a huge key", scrypt(2, 1, 1, int64(1)<<40), anyError},
		{"scrypt with 2^64 of something", scrypt(2, 1, tooLarge), anyError},

		{"vector of 8 bytes", func(e *encrypted) { e.iv = make([]byte, 8) }, anyError},
		{"vector of 17 bytes", func(e *encrypted) { e.iv = make([]byte, 17) }, anyError},
		{"no vector", func(e *encrypted) { e.iv = []byte{} }, anyError},
		{"vector that is not an OCTET STRING", func(e *encrypted) { e.iv = asn1.NullRawValue }, anyError},
		{"unknown cipher", func(e *encrypted) { e.cipher = oidUnknown }, errors.ErrUnsupported},
		{"key length of another cipher", func(e *encrypted) { e.cipher = oidAES256; e.kdfParams = seq{salt, 1, 16} }, anyError},
		{"ciphertext of 0 bytes", func(e *encrypted) { e.data = []byte{} }, anyError},
		{"ciphertext of 1 byte", func(e *encrypted) { e.data = make([]byte, 1) }, anyError},
		{"ciphertext of 130 bytes", func(e *encrypted) { e.data = make([]byte, 130) }, anyError},
		{"PBES1", func(e *encrypted) { e.scheme = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 10} }, errors.ErrUnsupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := encrypt(t, keyDER(t, "p256"), "x")
			test.change(&e)
			promptly(t, func() {
				_, err := parsePBES2(e.der(t))
				if (err == nil) != (test.want == nil) || test.want != nil && test.want != anyError && !errors.Is(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
				if test.want == nil {
					return
				}
				// The error comes before a password is needed.
				if _, err := open(t.Context(), e.der(t)); err == nil || errors.Is(err, signer.ErrPINIncorrect) {
					t.Errorf("opened with error %v", err)
				}
			})
		})
	}
}

func TestPBES2Decrypt(t *testing.T) {
	e := encrypt(t, keyDER(t, "p256"), "x")
	s, err := open(t.Context(), e.der(t))
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	// A wrong password can result in valid padding, but not in a key.
	if _, err := open(t.Context(), encrypt(t, []byte("no key"), "x").der(t)); !errors.Is(err, signer.ErrPINIncorrect) {
		t.Errorf("no key: error %v, want %v", err, signer.ErrPINIncorrect)
	}
	// Invalid padding of every kind.
	for change := 1; change < 256; change++ {
		e := encrypt(t, keyDER(t, "p256"), "x")
		e.data[len(e.data)-1] ^= byte(change) // changes the last block, which contains no private key material
		again, err := open(t.Context(), e.der(t))
		if err == nil && !signer.SamePublicKey(again.Public(), s.Public()) {
			t.Errorf("last byte changed by %#x: another key", change)
		}
		if err != nil && !errors.Is(err, signer.ErrPINIncorrect) {
			t.Errorf("last byte changed by %#x: error %v, want %v", change, err, signer.ErrPINIncorrect)
		}
	}
}

// The parameters use the most memory that the limits allow, for N, r and p in
// turn.
func TestScryptMemory(t *testing.T) {
	largest := func(allowed func(int) bool) int {
		n := 1
		for ; allowed(n * 2); n *= 2 {
		}
		for step := n / 2; step > 0; step /= 2 {
			if allowed(n + step) {
				n += step
			}
		}
		return n
	}
	ok := func(n, r, p int) bool { return (&scryptParams{N: n, R: r, P: p}).check(16) == nil }
	for _, params := range [][3]int{
		{largest(func(n int) bool { return ok(n, 8, 1) }), 8, 1},
		{2, largest(func(r int) bool { return ok(2, r, 1) }), 1},
		{2, 1, largest(func(p int) bool { return ok(2, 1, p) })},
	} {
		e := encrypt(t, keyDER(t, "p256"), "x")
		e.kdf, e.kdfParams = oidScrypt, seq{[]byte("salt"), params[0], params[1], params[2]}
		in := e.der(t)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := open(t.Context(), in)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, signer.ErrPINIncorrect) { // the derived key is wrong
			t.Errorf("N, r, p = %v: error %v, want %v", params, err, signer.ErrPINIncorrect)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 200<<20 {
			t.Errorf("N, r, p = %v: took %d MiB", params, n>>20)
		}
	}
}
