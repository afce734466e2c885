//go:build windows || ((darwin || linux) && (amd64 || arm64))

package binding

import (
	"encoding/binary"
	"math"
	"runtime"
	"unsafe"
)

// An Attribute is a CK_ATTRIBUTE; see [Ulong].
type Attribute struct {
	Kind  uint64
	Value []byte
}

// Ulong returns the value of an attribute whose type is CK_ULONG.
func Ulong(n uint64) []byte {
	b := make([]byte, native.ulong)
	native.putUlong(b, n)
	return b
}

// A Mechanism is a CK_MECHANISM. Parameters are the CK_ULONG fields of its parameter.
type Mechanism struct {
	Kind       uint64
	Parameters []uint64
}

func (m Mechanism) encode() (r record, p *runtime.Pinner) {
	p = new(runtime.Pinner)
	r.abi = native
	parameters := record{abi: native}
	for _, n := range m.Parameters {
		parameters.ulong(n)
	}
	r.ulong(m.Kind)
	r.pointer(pinned(p, parameters.b))
	r.ulong(uint64(len(parameters.b)))
	return r, p
}

// A template is a list of CK_ATTRIBUTE. Its pinner keeps the values alive, whose
// addresses are in the list, where the garbage collector does not see them.
type template struct {
	record
	runtime.Pinner
}

func encode(attributes []Attribute) *template {
	t := &template{record: record{abi: native}}
	for _, a := range attributes {
		t.attribute(a.Kind, a.Value)
	}
	return t
}

// attribute adds a CK_ATTRIBUTE.
func (t *template) attribute(kind uint64, value []byte) {
	t.ulong(kind)
	t.pointer(pinned(&t.Pinner, value))
	t.ulong(uint64(len(value)))
}

// pinned returns the address of b, which p keeps alive; 0 if b is empty.
func pinned(p *runtime.Pinner, b []byte) uintptr {
	if len(b) == 0 {
		return 0
	}
	p.Pin(unsafe.SliceData(b))
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// An abi says how a system lays out structures.
type abi struct {
	ulong  int  // the size of CK_ULONG
	packed bool // PKCS #11 v3.1, section 2.1: on Windows, without padding
}

const (
	pointer = int(unsafe.Sizeof(uintptr(0)))
	ulong   = 8 // at most
	version = 2 // CK_VERSION
)

// size returns the size of a first field and others after it that are aligned pointers.
func (a abi) size(first, others int) int { return a.align(first, pointer) + others }

func (a abi) align(offset, size int) int {
	if a.packed {
		return offset
	}
	return (offset + size - 1) / size * size
}

// result returns the part of a register that is a CK_RV.
func (a abi) result(r uintptr) uintptr {
	if a.ulong == 4 {
		return uintptr(uint32(r))
	}
	return r
}

// unavailable is CK_UNAVAILABLE_INFORMATION.
func (a abi) unavailable() uint64 {
	if a.ulong == 4 {
		return math.MaxUint32
	}
	return math.MaxUint64
}

func (a abi) getUlong(b []byte) uint64 {
	if a.ulong == 4 {
		return uint64(binary.NativeEndian.Uint32(b))
	}
	return binary.NativeEndian.Uint64(b)
}

func (a abi) putUlong(b []byte, n uint64) {
	if a.ulong == 4 {
		binary.NativeEndian.PutUint32(b, uint32(n))
	} else {
		binary.NativeEndian.PutUint64(b, n)
	}
}

// view returns a view of n zero bytes, and of some more for padding.
func (a abi) view(n int) view { return view{a, make([]byte, n+4*ulong), 0} }

// A record is a structure that is being written.
type record struct {
	abi
	b []byte
}

func (r *record) grow(size int) []byte {
	start := r.align(len(r.b), size)
	r.b = append(r.b, make([]byte, start+size-len(r.b))...)
	return r.b[start:]
}

func (r *record) ulong(n uint64) { r.putUlong(r.grow(r.abi.ulong), n) }

func (r *record) pointer(p uintptr) {
	b := r.grow(pointer)
	if pointer == 4 {
		binary.NativeEndian.PutUint32(b, uint32(p))
	} else {
		binary.NativeEndian.PutUint64(b, uint64(p))
	}
}

// A view is a structure that is being read.
type view struct {
	abi
	b  []byte
	at int
}

func (v *view) next(size, alignment int) []byte {
	v.at = v.align(v.at, alignment)
	b := v.b[v.at : v.at+size]
	v.at += size
	return b
}

func (v *view) bytes(n int) []byte { return v.next(n, 1) }

func (v *view) ulong() uint64 { return v.getUlong(v.next(v.abi.ulong, v.abi.ulong)) }

func (v *view) ulongs(n int) (all []uint64) {
	for range n {
		all = append(all, v.ulong())
	}
	return all
}

func (v *view) pointer() uint64 {
	b := v.next(pointer, pointer)
	if pointer == 4 {
		return uint64(binary.NativeEndian.Uint32(b))
	}
	return binary.NativeEndian.Uint64(b)
}

// attribute reads a CK_ATTRIBUTE without its value.
func (v *view) attribute() (kind, length uint64) {
	kind = v.ulong()
	v.pointer()
	return kind, v.ulong()
}
