//go:build darwin || (linux && (amd64 || arm64))

package secfw

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"
)

const encodingUTF8 = 0x08000100 // kCFStringEncodingUTF8

// maxCopy bounds the bytes that are copied from one object. Certificates and
// labels in use have a few thousand.
const maxCopy = 64 << 10

var errMemory = errors.New("CoreFoundation is out of memory")

// text copies a CFString. It returns "" if s is too long or not a CFString. It
// asks for the size in the encoding, because the length is in UTF-16 units. It
// does not use CFStringGetCStringPtr, which may return NULL for any string.
func (a *API) text(s Ref) string {
	if s == 0 || a.cf.GetTypeID(s) != a.cf.StringGetTypeID() {
		return ""
	}
	n := a.cf.StringGetMaximumSizeForEncoding(a.cf.StringGetLength(s), encodingUTF8)
	if n < 0 || n > maxCopy { // kCFNotFound is -1
		return ""
	}
	buf := make([]byte, n+1)
	if a.cf.StringGetCString(s, &buf[0], len(buf), encodingUTF8) == 0 {
		return ""
	}
	if i := bytes.IndexByte(buf, 0); i >= 0 {
		buf = buf[:i]
	}
	return string(buf)
}

// data copies a CFData that is not empty.
func (a *API) data(d Ref) ([]byte, error) {
	if d == 0 || a.cf.GetTypeID(d) != a.cf.DataGetTypeID() {
		return nil, errors.New("not a CFData")
	}
	n := a.cf.DataGetLength(d)
	if n <= 0 || n > maxCopy { // the pointer of an empty CFData may be NULL
		return nil, fmt.Errorf("CFData of %d bytes", n)
	}
	return bytes.Clone(unsafe.Slice(a.cf.DataGetBytePtr(d), n)), nil
}

// newData returns a CFData with a copy of b. The caller releases it.
func (a *API) newData(b []byte) (Ref, error) {
	d := a.cf.DataCreate(0, unsafe.SliceData(b), len(b))
	if d == 0 {
		return 0, errMemory
	}
	return d, nil
}

// newDictionary returns a CFDictionary whose keys and values are constants, given
// by name. The caller releases it.
func (a *API) newDictionary(entries [][2]string) (Ref, error) {
	keys, values := make([]Ref, len(entries)), make([]Ref, len(entries))
	for i, e := range entries {
		keys[i], values[i] = a.constants[e[0]], a.constants[e[1]]
	}
	d := a.cf.DictionaryCreate(0, unsafe.SliceData(keys), unsafe.SliceData(values), len(entries),
		a.callbacks["kCFTypeDictionaryKeyCallBacks"], a.callbacks["kCFTypeDictionaryValueCallBacks"])
	if d == 0 {
		return 0, errMemory
	}
	return d, nil
}
