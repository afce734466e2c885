package file

import (
	"context"
	"crypto/cipher"
	"crypto/des"
	"crypto/sha1"
	"crypto/x509/pkix"
	"fmt"
	"hash"
	"math/big"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/holdfast-dev/holdfast/internal/lookup"
)

// pbes1Ciphers are the encryption schemes of PKCS #12 (RFC 7292, appendix C)
// that programs use. Their key derivation is [pkcs12KDF] with SHA-1.
var pbes1Ciphers = lookup.Table[string, cbcCipher]{
	{"1.2.840.113549.1.12.1.3", cbcCipher{24, des.BlockSize, des.NewTripleDESCipher}},
	{"1.2.840.113549.1.12.1.4", cbcCipher{16, des.BlockSize, func(key []byte) (cipher.Block, error) {
		return des.NewTripleDESCipher(append(key[:16:16], key[:8]...))
	}}},
	{"1.2.840.113549.1.12.1.5", cbcCipher{16, 8, func(key []byte) (cipher.Block, error) { return newRC2(key), nil }}},
	{"1.2.840.113549.1.12.1.6", cbcCipher{5, 8, func(key []byte) (cipher.Block, error) { return newRC2(key), nil }}},
}

// A ciphertext is an encrypted part of a PKCS #12 file.
type ciphertext interface {
	// decrypt returns errPasswordIncorrect if the password is wrong.
	decrypt(ctx context.Context, p passphrase) ([]byte, error)
	// work returns the number of iterations.
	work() int64
}

// pbes1 is a ciphertext of one of the pbes1Ciphers.
type pbes1 struct {
	cbcCipher
	salt       []byte
	iterations int
	ciphertext []byte
}

// newCiphertext parses the parameters of an encryption scheme.
func newCiphertext(algorithm pkix.AlgorithmIdentifier, data []byte) (ciphertext, error) {
	scheme, ok := pbes1Ciphers.Find(algorithm.Algorithm.String())
	if !ok {
		return newPBES2(algorithm, data)
	}
	if err := inFIPSMode(nameOf(algorithm.Algorithm)); err != nil {
		return nil, err
	}
	var params struct {
		Salt       []byte
		Iterations int
	}
	if err := unmarshal(algorithm.Parameters.FullBytes, &params); err != nil {
		return nil, err
	}
	if err := checkIterations(params.Iterations); err != nil {
		return nil, err
	}
	return &pbes1{scheme, params.Salt, params.Iterations, data}, scheme.checkSize(data)
}

func (e *pbes1) work() int64 { return int64(e.iterations) }

func (e *pbes1) decrypt(ctx context.Context, p passphrase) ([]byte, error) {
	return firstCorrect(p.bmpStrings(), func(password []byte) ([]byte, error) {
		const forKey, forIV = 1, 2
		key, err := pkcs12KDF(ctx, sha1.New, forKey, password, e.salt, e.iterations, e.keySize)
		if err != nil {
			return nil, err
		}
		defer clear(key)
		iv, err := pkcs12KDF(ctx, sha1.New, forIV, password, e.salt, e.iterations, e.blockSize)
		if err != nil {
			return nil, err
		}
		return e.cbcCipher.decrypt(key, iv, e.ciphertext)
	})
}

// pkcs12KDF derives size bytes (RFC 7292, appendix B.2). The password is a
// BMPString.
func pkcs12KDF(ctx context.Context, newHash func() hash.Hash, id byte, password, salt []byte, iterations, size int) ([]byte, error) {
	h := newHash()
	v := h.BlockSize()
	fill := func(in []byte) []byte { // steps 2 and 3
		out := make([]byte, (len(in)+v-1)/v*v)
		for i := range out {
			out[i] = in[i%len(in)]
		}
		return out
	}
	d := make([]byte, v)
	for i := range d {
		d[i] = id
	}
	s, p := fill(salt), fill(password)
	in := append(s, p...)
	clear(p)
	defer clear(in)
	var out []byte
	for {
		h.Reset()
		h.Write(d)
		h.Write(in)
		a := h.Sum(nil)
		for i := 1; i < iterations; i++ {
			if i%4096 == 0 && ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			h.Reset()
			h.Write(a)
			a = h.Sum(a[:0])
		}
		if out = append(out, a...); len(out) >= size {
			return out[:size], nil
		}
		addToBlocks(in, fill(a)[:v], v)
	}
}

// addToBlocks adds b+1 to each block of v bytes, modulo 2^(8v) (step 6C).
func addToBlocks(in, b []byte, v int) {
	plus := new(big.Int).Add(new(big.Int).SetBytes(b), big.NewInt(1))
	modulus := new(big.Int).Lsh(big.NewInt(1), uint(8*v))
	for ; len(in) > 0; in = in[v:] {
		sum := new(big.Int).SetBytes(in[:v])
		sum.Add(sum, plus).Mod(sum, modulus).FillBytes(in[:v])
	}
}

// A passphrase is a password, in the encoding of the source.
type passphrase []byte

// bmpStrings returns the encodings of the password for PKCS #12, which differ
// between programs. The first one is that of RFC 7292, appendix B.1, in UTF-16,
// as OpenSSL and GnuTLS extend it beyond the BMP. An empty password is an empty
// string or nothing at all. Old programs take each byte for a character.
func (p passphrase) bmpStrings() [][]byte {
	if len(p) == 0 {
		return [][]byte{{0, 0}, {}}
	}
	var all [][]byte
	ascii := true
	bytewise := make([]byte, 0, 2*len(p)+2)
	for _, b := range p {
		ascii = ascii && b < utf8.RuneSelf
		bytewise = append(bytewise, 0, b)
	}
	if !ascii && utf8.Valid(p) {
		var wide []byte
		for _, u := range utf16.Encode([]rune(string(p))) {
			wide = append(wide, byte(u>>8), byte(u))
		}
		all = append(all, append(wide, 0, 0))
	}
	return append(all, append(bytewise, 0, 0))
}

// firstCorrect calls f with each of the passwords until one is correct.
func firstCorrect(passwords [][]byte, f func(password []byte) ([]byte, error)) (plain []byte, err error) {
	for _, p := range passwords {
		if plain, err = f(p); err != errPasswordIncorrect {
			break
		}
	}
	for _, p := range passwords {
		clear(p)
	}
	return plain, err
}

func checkIterations(n int) error {
	if n < 1 || n > maxIterations {
		return fmt.Errorf("key derivation has %d iterations, but 1 to %d are allowed", n, maxIterations)
	}
	return nil
}
