package mldsa

import "crypto/subtle"

// noContext precedes a message that is signed as it is, with the empty context
// (FIPS 204, algorithms 2 and 3).
var noContext = []byte{0, 0}

// Verify reports whether signature is one of message, with the empty context and
// not pre-hashed (FIPS 204, algorithms 3 and 8).
func (p *PublicKey) Verify(message, signature []byte) bool {
	if len(signature) != p.signatureSize() {
		return false
	}
	hash, rest := signature[:p.hash], signature[p.hash:]
	z := make(vector, p.l)
	for i := range z {
		size := p.gamma1Bits() * n / 8
		z[i] = unpack(rest[:size], p.gamma1Bits()).from(p.gamma1)
		rest = rest[size:]
	}
	hints, ok := p.unpackHints(rest)
	if !ok || z.norm() >= p.gamma1-p.beta() {
		return false
	}
	c := p.sampleInBall(hash)
	c.ntt()
	t1 := make(vector, p.k)
	for i := range t1 {
		const size = (23 - d) * n / 8
		t1[i] = *unpack(p.raw[seedSize+i*size:][:size], 23-d)
		for j := range t1[i] {
			t1[i][j] <<= d
		}
	}
	w := p.expandA(p.raw[:seedSize]).times(z.each((*poly).ntt)).minus(t1.each((*poly).ntt).scaled(&c)).each((*poly).inverseNTT)
	for i := range w {
		for j, v := range w[i] {
			w[i][j] = p.useHint(hints[i][j], v)
		}
	}
	return subtle.ConstantTimeCompare(hash, p.commit(p.representative(message), w)) == 1
}

// representative returns μ, the message as it is signed.
func (p *PublicKey) representative(message []byte) []byte {
	return shake256(make([]byte, 64), shake256(make([]byte, 64), p.raw), noContext, message)
}

// commit returns the hash of μ and of w1, the high bits of w (FIPS 204, algorithm
// 28).
func (s *Parameters) commit(mu []byte, w1 vector) []byte {
	width := 4
	if s.gamma2 == gamma2Of44 {
		width = 6
	}
	var packed []byte
	for i := range w1 {
		packed = w1[i].pack(packed, width)
	}
	return shake256(make([]byte, s.hash), mu, packed)
}

// useHint returns the high bits of r, corrected by the hint (FIPS 204, algorithm
// 40).
func (s *Parameters) useHint(hint bool, r uint32) uint32 {
	r1, r0 := s.decompose(r)
	switch {
	case !hint:
		return r1
	case r0 > 0:
		return (r1 + 1) % s.commitments()
	}
	return (r1 + s.commitments() - 1) % s.commitments()
}

// unpackHints decodes the hints. There is one encoding of each (FIPS 204, algorithm
// 21).
func (s *Parameters) unpackHints(b []byte) (hints [][n]bool, ok bool) {
	positions, ends := b[:s.omega], b[s.omega:]
	hints = make([][n]bool, s.k)
	at := 0
	for i := range hints {
		end := int(ends[i])
		if end < at || end > s.omega {
			return nil, false
		}
		for first := at; at < end; at++ {
			if at > first && positions[at-1] >= positions[at] {
				return nil, false
			}
			hints[i][positions[at]] = true
		}
	}
	for _, unused := range positions[at:] {
		if unused != 0 {
			return nil, false
		}
	}
	return hints, true
}
