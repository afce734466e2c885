//go:build windows || ((darwin || linux) && (amd64 || arm64))

package binding

import (
	"errors"
	"unsafe"
)

// Find returns at most limit objects.
func (l *Library) Find(session uint64, template []Attribute, limit int) (all []uint64, err error) {
	t := encode(template)
	defer t.Unpin()
	if err := l.do(fnFindObjectsInit, uintptr(session), uintptr(at(t.b)), uintptr(len(template))); err != nil {
		return nil, err
	}
	for len(all) < limit && err == nil {
		want := min(limit-len(all), maxList)
		v, n := native.view(want*native.ulong), new([8]byte)
		if err = l.do(fnFindObjects, uintptr(session), uintptr(at(v.b)), uintptr(want), uintptr(unsafe.Pointer(n))); err != nil {
			break
		}
		count := native.getUlong(n[:])
		if count > uint64(want) {
			err = longer("C_FindObjects", count, uint64(want))
		}
		if count == 0 || err != nil {
			break
		}
		all = append(all, v.ulongs(int(count))...)
	}
	if end := l.do(fnFindObjectsFinal, uintptr(session)); err == nil {
		err = end
	}
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Attributes returns the values of the given types, without those that are absent or
// sensitive.
func (l *Library) Attributes(session, object uint64, types []uint64) ([]Attribute, error) {
	all, err := l.values(session, object, types)
	switch {
	case !errors.Is(err, ckrAttributeTypeInvalid) && !errors.Is(err, ckrAttributeSensitive):
		return all, err
	case len(types) <= 1:
		return nil, nil
	}
	// Not every module fills in the others then.
	for _, kind := range types {
		one, err := l.Attributes(session, object, []uint64{kind})
		if err != nil {
			return nil, err
		}
		all = append(all, one...)
	}
	return all, nil
}

// values is Attributes, but returns the error of the module if one is absent.
func (l *Library) values(session, object uint64, types []uint64) ([]Attribute, error) {
	t := template{record: record{abi: native}}
	for _, kind := range types {
		t.attribute(kind, nil)
	}
	get := func() error {
		return l.do(fnGetAttributeValue, uintptr(session), uintptr(object), uintptr(at(t.b)), uintptr(len(types)))
	}
	if err := get(); err != nil {
		return nil, err
	}
	lengths := make([]int, len(types))
	v, total := view{native, t.b, 0}, uint64(0)
	for i := range types {
		_, n := v.attribute()
		if n == native.unavailable() {
			n = 0
		}
		if total += n; n > maxBytes || total > maxBytes {
			return nil, longer("C_GetAttributeValue", max(n, total), maxBytes)
		}
		lengths[i] = int(n)
	}
	t = template{record: record{abi: native}}
	defer t.Unpin()
	values := make([][]byte, len(types))
	for i, kind := range types {
		values[i] = make([]byte, lengths[i])
		t.attribute(kind, values[i])
	}
	if err := get(); err != nil {
		return nil, err
	}
	var all []Attribute
	v = view{native, t.b, 0}
	for i, kind := range types {
		_, n := v.attribute()
		switch {
		case n == 0 || n == native.unavailable():
		case n > uint64(lengths[i]):
			return nil, longer("C_GetAttributeValue", n, uint64(lengths[i]))
		default:
			all = append(all, Attribute{kind, values[i][:n]})
		}
	}
	return all, nil
}

// GenerateKeyPair calls C_GenerateKeyPair.
func (l *Library) GenerateKeyPair(session uint64, m Mechanism, public, private []Attribute) (pub, priv uint64, err error) {
	r, pin := m.encode()
	defer pin.Unpin()
	a, b := encode(public), encode(private)
	defer a.Unpin()
	defer b.Unpin()
	one, other := new([8]byte), new([8]byte)
	err = l.do(fnGenerateKeyPair, uintptr(session), uintptr(at(r.b)), uintptr(at(a.b)), uintptr(len(public)),
		uintptr(at(b.b)), uintptr(len(private)), uintptr(unsafe.Pointer(one)), uintptr(unsafe.Pointer(other)))
	return native.getUlong(one[:]), native.getUlong(other[:]), err
}

// CreateObject calls C_CreateObject.
func (l *Library) CreateObject(session uint64, attributes []Attribute) (uint64, error) {
	t := encode(attributes)
	defer t.Unpin()
	object := new([8]byte)
	err := l.do(fnCreateObject, uintptr(session), uintptr(at(t.b)), uintptr(len(attributes)), uintptr(unsafe.Pointer(object)))
	return native.getUlong(object[:]), err
}

// DestroyObject calls C_DestroyObject.
func (l *Library) DestroyObject(session, object uint64) error {
	return l.do(fnDestroyObject, uintptr(session), uintptr(object))
}
