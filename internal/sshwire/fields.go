// Package sshwire encodes and decodes what clients and servers of an ssh-agent
// exchange: the fields of RFC 4251, section 5; public keys and signatures of RFC 4253,
// section 6.6 (RSA), RFC 5656, section 3.1 (ECDSA), RFC 8332 (RSA with SHA-2) and
// RFC 8709 (Ed25519); the certificates of OpenSSH (PROTOCOL.certkeys); and the messages
// of draft-ietf-sshm-ssh-agent. It does no I/O but that of [ReadMessage] and
// [WriteMessage].
//
// The decoders are strict, because a lenient one accepts two encodings of one key: they
// refuse bytes after the last field, numbers that are negative or longer than
// necessary, points that are not on the curve, and RSA keys of an unusual size. All
// functions are safe for concurrent use; a [Reader] and a [Builder] are not.
package sshwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// maxBits is the size of the largest number, in bits. OpenSSH has the same limit
// (SSHBUF_MAX_BIGNUM).
const maxBits = 16384

var (
	errShort    = errors.New("data ends within a field")
	errTrailing = errors.New("data continues after the last field")
)

// A Reader decodes fields from the front of a message. After the first error, which
// [Reader.Err] and [Reader.End] return, all methods return zero values.
type Reader struct {
	data []byte
	err  error
}

// NewReader returns a Reader of data. It borrows data, and the slices that its methods
// return are parts of data.
func NewReader(data []byte) *Reader { return &Reader{data: data} }

// Err returns the first error.
func (r *Reader) Err() error { return r.err }

// End returns the first error, or an error if there are bytes left.
func (r *Reader) End() error {
	if r.err == nil && len(r.data) != 0 {
		r.err = errTrailing
	}
	return r.err
}

// Empty reports whether nothing is left. It is true after an error.
func (r *Reader) Empty() bool { return r.err != nil || len(r.data) == 0 }

// Remaining returns all bytes that are left.
func (r *Reader) Remaining() []byte {
	if r.err != nil {
		return nil
	}
	return r.take(uint64(len(r.data)))
}

func (r *Reader) take(n uint64) []byte {
	if r.err == nil && n > uint64(len(r.data)) {
		r.err = errShort
	}
	if r.err != nil {
		return nil
	}
	field := r.data[:n:n]
	r.data = r.data[n:]
	return field
}

// Byte returns a byte.
func (r *Reader) Byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// Bool returns a boolean: every value but 0 is true (RFC 4251, section 5).
func (r *Reader) Bool() bool { return r.Byte() != 0 }

// Uint32 returns a uint32.
func (r *Reader) Uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Uint64 returns a uint64.
func (r *Reader) Uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Bytes returns the contents of a string.
func (r *Reader) Bytes() []byte { return r.take(uint64(r.Uint32())) }

// Text returns a copy of the contents of a string. It may contain any bytes.
func (r *Reader) Text() string { return string(r.Bytes()) }

// Mpint returns an mpint of at most 16384 bits. Negative numbers and superfluous
// leading zeros are errors. It never returns nil.
func (r *Reader) Mpint() *big.Int {
	b := r.Bytes()
	n := new(big.Int)
	if r.err == nil {
		r.err = checkMpint(b)
	}
	if r.err == nil {
		n.SetBytes(b)
	}
	return n
}

func checkMpint(b []byte) error {
	switch {
	case len(b) > maxBits/8+1 || len(b) == maxBits/8+1 && b[0] != 0:
		return fmt.Errorf("number has more than %d bits", maxBits)
	case len(b) > 0 && b[0]&0x80 != 0:
		return errors.New("number is negative")
	case len(b) > 0 && b[0] == 0 && (len(b) == 1 || b[1]&0x80 == 0):
		return errors.New("number has superfluous leading zeros")
	}
	return nil
}

// A Builder encodes fields. The zero value is empty.
type Builder struct{ data []byte }

// Data returns what was added. The caller owns it, and no longer uses the Builder.
func (b *Builder) Data() []byte { return b.data }

// Byte adds a byte.
func (b *Builder) Byte(v byte) { b.data = append(b.data, v) }

// Bool adds a boolean.
func (b *Builder) Bool(v bool) {
	var n byte
	if v {
		n = 1
	}
	b.Byte(n)
}

// Uint32 adds a uint32.
func (b *Builder) Uint32(v uint32) { b.data = binary.BigEndian.AppendUint32(b.data, v) }

// Uint64 adds a uint64.
func (b *Builder) Uint64(v uint64) { b.data = binary.BigEndian.AppendUint64(b.data, v) }

// Bytes adds a string. A message that contains more than 4 GiB is longer than
// [WriteMessage] permits.
func (b *Builder) Bytes(v []byte) {
	b.Uint32(uint32(len(v)))
	b.Raw(v)
}

// Text adds a string.
func (b *Builder) Text(v string) {
	b.Uint32(uint32(len(v)))
	b.data = append(b.data, v...)
}

// Mpint adds a number, which must not be negative, as an mpint.
func (b *Builder) Mpint(v *big.Int) {
	n := v.Bytes()
	pad := len(n) > 0 && n[0]&0x80 != 0
	if !pad {
		b.Bytes(n)
		return
	}
	b.Uint32(uint32(len(n) + 1))
	b.Byte(0)
	b.Raw(n)
}

// Raw adds bytes without their length.
func (b *Builder) Raw(v []byte) { b.data = append(b.data, v...) }
