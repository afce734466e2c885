package mldsa

import (
	"crypto/sha3"
	"math/bits"
)

const (
	n = 256               // coefficients of a polynomial
	q = 1<<23 - 1<<13 + 1 // the prime modulus
	d = 13                // bits that t1 lacks
)

// A poly is a polynomial of degree 255 modulo q, or its transform. Coefficients
// are in [0, q). The operations take the same time for all values.
type poly [n]uint32

// reduceOnce returns a mod q for a < 2q.
func reduceOnce(a uint32) uint32 {
	a -= q
	return a + q&-(a>>31)
}

func add(a, b uint32) uint32 { return reduceOnce(a + b) }
func sub(a, b uint32) uint32 { return reduceOnce(a + q - b) }

// mul multiplies with Barrett's reduction.
func mul(a, b uint32) uint32 {
	const inverse = (1<<64 - 1) / q
	p := uint64(a) * uint64(b)
	quotient, _ := bits.Mul64(p, inverse) // too small by 1 at most
	return reduceOnce(uint32(p - quotient*q))
}

// centered returns the representative of a in (-q/2, q/2].
func centered(a uint32) int32 {
	c := int32(a)
	return c - q&((q/2-c)>>31)
}

// abs returns the absolute value of the centered representative.
func abs(a uint32) int32 {
	c := centered(a)
	sign := c >> 31
	return (c ^ sign) - sign
}

// larger returns the larger of two numbers that are not negative. The built-in max
// is a branch on 32-bit processors.
func larger(a, b int32) int32 {
	return a + (b-a)&^((b-a)>>31)
}

// norm returns the largest absolute value of the coefficients.
func (p *poly) norm() (largest int32) {
	for _, c := range p {
		largest = larger(largest, abs(c))
	}
	return largest
}

func (p *poly) add(a *poly) {
	for i := range p {
		p[i] = add(p[i], a[i])
	}
}

func (p *poly) sub(a *poly) {
	for i := range p {
		p[i] = sub(p[i], a[i])
	}
}

// times returns the product of two transforms.
func (p *poly) times(a *poly) (product poly) {
	for i := range p {
		product[i] = mul(p[i], a[i])
	}
	return product
}

// ntt transforms p (FIPS 204, algorithm 41).
func (p *poly) ntt() {
	m := 0
	for length := n / 2; length >= 1; length /= 2 {
		for start := 0; start < n; start += 2 * length {
			m++
			for j := start; j < start+length; j++ {
				t := mul(zetas[m], p[j+length])
				p[j+length] = sub(p[j], t)
				p[j] = add(p[j], t)
			}
		}
	}
}

// inverseNTT reverses [poly.ntt] (FIPS 204, algorithm 42).
func (p *poly) inverseNTT() {
	m := n
	for length := 1; length < n; length *= 2 {
		for start := 0; start < n; start += 2 * length {
			m--
			for j := start; j < start+length; j++ {
				t := p[j]
				p[j] = add(t, p[j+length])
				p[j+length] = mul(zetas[m], sub(p[j+length], t))
			}
		}
	}
	const inverse = 8347681 // of 256
	for i := range p {
		p[i] = mul(p[i], inverse)
	}
}

// A vector has a polynomial per row or column of the matrix.
type vector []poly

func (v vector) each(f func(*poly)) vector {
	for i := range v {
		f(&v[i])
	}
	return v
}

func (v vector) clone() vector { return append(vector(nil), v...) }

func (v vector) norm() (largest int32) {
	for i := range v {
		largest = larger(largest, v[i].norm())
	}
	return largest
}

// plus and minus change v.
func (v vector) plus(a vector) vector {
	for i := range v {
		v[i].add(&a[i])
	}
	return v
}

func (v vector) minus(a vector) vector {
	for i := range v {
		v[i].sub(&a[i])
	}
	return v
}

// scaled returns the product of v and c, both transformed.
func (v vector) scaled(c *poly) vector {
	product := make(vector, len(v))
	for i := range v {
		product[i] = v[i].times(c)
	}
	return product
}

// A matrix has k rows of l transformed polynomials.
type matrix []vector

// times returns the product of a and v, both transformed.
func (a matrix) times(v vector) vector {
	product := make(vector, len(a))
	for i, row := range a {
		for j := range row {
			t := row[j].times(&v[j])
			product[i].add(&t)
		}
	}
	return product
}

// expandA derives the matrix from a seed (FIPS 204, algorithms 30 and 32).
func (s *Parameters) expandA(seed []byte) matrix {
	a := make(matrix, s.k)
	for r := range a {
		a[r] = make(vector, s.l)
		for c := range a[r] {
			h := sha3.NewSHAKE128()
			write(h, seed, []byte{byte(c), byte(r)})
			var block [168]byte // the rate of SHAKE128, a multiple of 3
			for i, at := 0, len(block); i < n; at += 3 {
				if at == len(block) {
					_, _ = h.Read(block[:])
					at = 0
				}
				b := block[at:]
				z := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2]&0x7f)<<16
				if z < q {
					a[r][c][i] = z
					i++
				}
			}
		}
	}
	return a
}

// expandMask derives the mask y of one attempt (FIPS 204, algorithm 34).
func (s *Parameters) expandMask(seed []byte, kappa int) vector {
	y := make(vector, s.l)
	packed := make([]byte, s.gamma1Bits()*n/8)
	for r := range y {
		shake256(packed, seed, []byte{byte(kappa + r), byte((kappa + r) >> 8)})
		y[r] = unpack(packed, s.gamma1Bits()).from(s.gamma1)
	}
	return y
}

// sampleInBall derives a polynomial with τ coefficients of 1 or -1 from the hash
// of a commitment (FIPS 204, algorithm 29).
func (s *Parameters) sampleInBall(hash []byte) (c poly) {
	h := sha3.NewSHAKE256()
	write(h, hash)
	var signs [8]byte
	_, _ = h.Read(signs[:])
	var one [1]byte
	for i := n - s.tau; i < n; i++ {
		for one[0] = 0xff; ; {
			_, _ = h.Read(one[:])
			if int(one[0]) <= i {
				break
			}
		}
		j, bit := one[0], i+s.tau-n
		c[i] = c[j]
		c[j] = 1
		if signs[bit/8]>>(bit%8)&1 == 1 {
			c[j] = q - 1
		}
	}
	return c
}

// decompose returns r1 and r0 with r = r1·2γ2 + r0 and -γ2 < r0 <= γ2, where q-1
// belongs to r1 = 0 (FIPS 204, algorithm 36).
func (s *Parameters) decompose(r uint32) (r1 uint32, r0 int32) {
	switch s.gamma2 { // the compiler makes a multiplication of a constant divisor
	case gamma2Of44:
		r1 = (r + gamma2Of44 - 1) / (2 * gamma2Of44)
	default:
		r1 = (r + gamma2Of65 - 1) / (2 * gamma2Of65)
	}
	r0 = int32(r) - int32(r1)*2*s.gamma2
	last := (int32(s.commitments()-1) - int32(r1)) >> 31 // all ones if r1 is one too large
	return r1 &^ uint32(last), r0 + last
}

func (v vector) highBits(s *Parameters) vector {
	high := make(vector, len(v))
	for i := range v {
		for j, c := range v[i] {
			high[i][j], _ = s.decompose(c)
		}
	}
	return high
}

// commitments is the number of values of r1 in [Parameters.decompose].
func (s *Parameters) commitments() uint32 {
	if s.gamma2 == gamma2Of44 {
		return (q - 1) / (2 * gamma2Of44)
	}
	return (q - 1) / (2 * gamma2Of65)
}

// power2Round returns t1 and t0 with t = t1·2^d + t0 and -2^(d-1) < t0 <= 2^(d-1)
// (FIPS 204, algorithm 35).
func power2Round(t uint32) (t1, t0 uint32) {
	t1 = (t + 1<<(d-1) - 1) >> d
	return t1, sub(t, t1<<d)
}

// pack appends the low bits of the coefficients, the first coefficient in the
// lowest bits (FIPS 204, algorithm 16).
func (p *poly) pack(b []byte, width int) []byte {
	var pending uint64
	var count int
	for _, c := range p {
		pending |= uint64(c) << count
		for count += width; count >= 8; count -= 8 {
			b = append(b, byte(pending))
			pending >>= 8
		}
	}
	return b
}

// unpack reverses [poly.pack] (FIPS 204, algorithm 18).
func unpack(b []byte, width int) *poly {
	var p poly
	var pending uint64
	var count int
	for i := range p {
		for ; count < width; count += 8 {
			pending |= uint64(b[0]) << count
			b = b[1:]
		}
		p[i] = uint32(pending) & (1<<width - 1)
		pending >>= width
		count -= width
	}
	return &p
}

// from returns bound - p, by which signed coefficients are packed (FIPS 204,
// algorithms 17 and 19). It reverses itself.
func (p *poly) from(bound int32) (r poly) {
	for i, c := range p {
		r[i] = sub(uint32(bound), c)
	}
	return r
}

func write(h *sha3.SHAKE, parts ...[]byte) {
	for _, p := range parts {
		_, _ = h.Write(p) // never fails
	}
}

// shake256 fills out with the hash H of the parts (FIPS 204, section 3.7).
func shake256(out []byte, parts ...[]byte) []byte {
	h := sha3.NewSHAKE256()
	write(h, parts...)
	_, _ = h.Read(out)
	return out
}
