package mldsa

import (
	"crypto"
	"crypto/subtle"
	"io"
)

// Errors of this package; constants, so that nothing is initialized at start.
const (
	ErrSize    = keyError("ML-DSA: the size of the private key is wrong")
	ErrNumbers = keyError("ML-DSA: the numbers of the private key do not belong together")

	errNoSolution = keyError("ML-DSA: no signature was found")
	errFault      = keyError("ML-DSA: the signature does not verify")
)

type keyError string

func (e keyError) Error() string { return string(e) }

// An ExpandedKey is a private key in the expanded form, from which the seed cannot
// be derived. It is safe for concurrent use.
type ExpandedKey struct {
	public     *PublicKey
	seed       []byte // K, from which the masks are derived
	a          matrix
	s1, s2, t0 vector // transformed
}

const sizeOfHash = 64 // of the public key

// etaBits is the number of bits of a coefficient in [-η, η].
func (s *Parameters) etaBits() int {
	if s.eta == 4 {
		return 4
	}
	return 3
}

// ExpandedSize returns the size of an expanded private key in bytes.
func (s *Parameters) ExpandedSize() int {
	return 2*seedSize + sizeOfHash + ((s.l+s.k)*s.etaBits()+s.k*d)*n/8
}

// ParseExpanded decodes and checks an expanded private key (FIPS 204, algorithm
// 25). The public key is derived from the secret numbers, and the redundant parts
// have to agree with it.
func ParseExpanded(s *Parameters, encoded []byte) (*ExpandedKey, error) {
	if len(encoded) != s.ExpandedSize() {
		return nil, ErrSize
	}
	etaBits := s.etaBits()
	next := func(size int) (b []byte) {
		b, encoded = encoded[:size:size], encoded[size:]
		return b
	}
	rho, key := next(seedSize), &ExpandedKey{seed: append([]byte(nil), next(seedSize)...)}
	hash := next(sizeOfHash)
	valid := true
	vectorOf := func(size, width int, bound int32) vector {
		v := make(vector, size)
		for i := range v {
			p := unpack(next(width*n/8), width)
			for _, c := range p {
				valid = valid && (width == d || int32(c) <= 2*bound)
			}
			v[i] = p.from(bound)
		}
		return v
	}
	key.s1, key.s2 = vectorOf(s.l, etaBits, s.eta), vectorOf(s.k, etaBits, s.eta)
	key.t0 = vectorOf(s.k, d, 1<<(d-1))
	if !valid {
		return nil, ErrNumbers
	}
	key.a = s.expandA(rho)
	key.s1.each((*poly).ntt)
	t := key.a.times(key.s1).each((*poly).inverseNTT).plus(key.s2)
	public := append([]byte(nil), rho...)
	for i := range t {
		var t1 poly
		for j := range t[i] {
			var t0 uint32
			t1[j], t0 = power2Round(t[i][j])
			valid = valid && t0 == key.t0[i][j]
		}
		public = t1.pack(public, 23-d)
	}
	if !valid || subtle.ConstantTimeCompare(hash, shake256(make([]byte, sizeOfHash), public)) != 1 {
		return nil, ErrNumbers
	}
	key.public = NewPublicKey(s, public)
	key.s2.each((*poly).ntt)
	key.t0.each((*poly).ntt)
	return key, nil
}

// PublicKey returns the public key.
func (k *ExpandedKey) PublicKey() *PublicKey { return k.public }

// Public implements [crypto.Signer].
func (k *ExpandedKey) Public() crypto.PublicKey { return k.public }

// Sign signs a message, with the empty context (FIPS 204, algorithm 2). opts is not
// used. The signature is hedged with random data from rand, or deterministic if
// rand is nil. It is verified before it is returned.
func (k *ExpandedKey) Sign(rand io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	random := make([]byte, seedSize)
	if rand != nil {
		if _, err := io.ReadFull(rand, random); err != nil {
			return nil, err
		}
	}
	mu := k.public.representative(message)
	signature, err := k.sign(mu, shake256(make([]byte, 64), k.seed, random, mu))
	if err == nil && !k.public.Verify(message, signature) {
		return nil, errFault
	}
	return signature, err
}

// maxAttempts limits the attempts to make a signature. The probability that all of them
// fail is below 2^-256 (FIPS 204, appendix C).
const maxAttempts = 814

// sign is FIPS 204, algorithm 7, after the message and the random data are hashed.
func (k *ExpandedKey) sign(mu, maskSeed []byte) ([]byte, error) {
	s := k.public.Parameters
	for attempt := range maxAttempts {
		z := s.expandMask(maskSeed, attempt*s.l)
		w := k.a.times(z.clone().each((*poly).ntt)).each((*poly).inverseNTT)
		hash := s.commit(mu, w.highBits(s))
		c := s.sampleInBall(hash)
		c.ntt()
		z.plus(k.s1.scaled(&c).each((*poly).inverseNTT))
		w.minus(k.s2.scaled(&c).each((*poly).inverseNTT))
		if z.norm() >= s.gamma1-s.beta() || w.lowNorm(s) >= s.gamma2-s.beta() {
			continue
		}
		ct0 := k.t0.scaled(&c).each((*poly).inverseNTT)
		if ct0.norm() >= s.gamma2 {
			continue
		}
		signature := hash
		for i := range z {
			p := z[i].from(s.gamma1)
			signature = p.pack(signature, s.gamma1Bits())
		}
		if hints, ok := s.packHints(w, ct0); ok {
			return append(signature, hints...), nil
		}
	}
	return nil, errNoSolution
}

// lowNorm returns the largest absolute value of the low bits.
func (v vector) lowNorm(s *Parameters) (largest int32) {
	for i := range v {
		for _, c := range v[i] {
			_, r0 := s.decompose(c)
			sign := r0 >> 31
			largest = larger(largest, (r0^sign)-sign)
		}
	}
	return largest
}

// packHints encodes where the high bits of w and w + ct0 differ (FIPS 204,
// algorithms 20 and 39). ok is false if these are too many places.
func (s *Parameters) packHints(w, ct0 vector) (hints []byte, ok bool) {
	hints = make([]byte, s.omega+s.k)
	count := 0
	for i := range w {
		for j := range w[i] {
			without, _ := s.decompose(w[i][j])
			with, _ := s.decompose(add(w[i][j], ct0[i][j]))
			if without == with {
				continue
			}
			if count == s.omega {
				return nil, false
			}
			hints[count] = byte(j)
			count++
		}
		hints[s.omega+i] = byte(count)
	}
	return hints, true
}
