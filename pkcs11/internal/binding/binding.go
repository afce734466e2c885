//go:build windows || ((darwin || linux) && (amd64 || arm64))

// Package binding calls a PKCS #11 module without cgo. It encodes the structures of
// PKCS #11 v3.1 by hand, with the sizes and the packing of the operating system.
//
// A program that links it is dynamically linked on Linux, so that only the helper
// process of package pkcs11 does. The package checks little: a module can crash the
// process at any call.
package binding

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"unsafe"
)

// An RV is a CK_RV other than CKR_OK.
type RV uint64

// Error implements error.
func (rv RV) Error() string { return fmt.Sprintf("CKR 0x%x", uint64(rv)) }

// An OpenError is the CK_RV of a function that is called while a module is opened.
type OpenError struct {
	Function string
	RV       RV
}

// Error implements error.
func (e *OpenError) Error() string { return e.Function + ": " + e.RV.Error() }

// longer returns the error of a module that returns more than it may: either it has
// written past the end of the memory that it was given, or it asks for a lot.
func longer(function string, n, most uint64) error {
	return fmt.Errorf("%s: the module is faulty: it returned the length %d, which is more than %d", function, n, most)
}

const (
	ckrAttributeSensitive   RV = 0x11
	ckrAttributeTypeInvalid RV = 0x12
	ckrBufferTooSmall       RV = 0x150
)

// The indexes of functions in CK_FUNCTION_LIST (pkcs11f.h).
const (
	fnInitialize        = 0
	fnFinalize          = 1
	fnGetInfo           = 2
	fnGetSlotList       = 4
	fnGetSlotInfo       = 5
	fnGetTokenInfo      = 6
	fnGetMechanismList  = 7
	fnOpenSession       = 12
	fnCloseSession      = 13
	fnGetSessionInfo    = 15
	fnLogin             = 18
	fnCreateObject      = 20
	fnDestroyObject     = 22
	fnGetAttributeValue = 24
	fnFindObjectsInit   = 26
	fnFindObjects       = 27
	fnFindObjectsFinal  = 28
	fnSignInit          = 42
	fnSign              = 43
	fnGenerateKeyPair   = 59
	functions           = 60
)

const (
	flagRWSession     = 0x2
	flagSerialSession = 0x4
	flagOSLockingOK   = 0x2

	stateROUser = 1
	stateRWUser = 3
)

// The limits of what a module may return.
const (
	maxList  = 4096      // slots, mechanisms
	maxBytes = 512 << 10 // the values of the attributes of one object
)

// maxLists is how often a list is read if it grows meanwhile.
const maxLists = 4

// signatureSize is enough for RSA with 8192 bits.
const signatureSize = 1024

// A Library is a loaded module. Its methods return the CK_RV of a function as an [RV]. It
// is safe for concurrent use if the module is, and each session is used by one goroutine
// at a time.
type Library struct {
	fn [functions]uintptr

	mu         sync.Mutex
	mechanisms map[string]*encoded // of C_SignInit, by what they say
}

// An encoded is a CK_MECHANISM, whose parameter is pinned.
type encoded struct {
	record
	pin *runtime.Pinner
}

// maxMechanisms bounds Library.mechanisms.
const maxMechanisms = 256

// Open loads the module at path, and does not initialize it.
func Open(path string) (*Library, error) {
	get, err := load(path, "C_GetFunctionList")
	if err != nil {
		return nil, err
	}
	var list unsafe.Pointer
	if rv := native.result(call(get, uintptr(unsafe.Pointer(&list)))); rv != 0 {
		return nil, &OpenError{"C_GetFunctionList", RV(rv)}
	}
	if list == nil {
		return nil, errors.New("C_GetFunctionList returned no function list")
	}
	v := view{native, unsafe.Slice((*byte)(list), native.size(version, functions*pointer)), 0}
	v.bytes(version)
	l := new(Library)
	for i := range l.fn {
		l.fn[i] = uintptr(v.pointer())
	}
	for _, i := range []int{fnInitialize, fnFinalize, fnGetSlotList, fnGetTokenInfo, fnOpenSession, fnCloseSession} {
		if l.fn[i] == 0 {
			return nil, errors.New("the function list of the module lacks functions")
		}
	}
	return l, nil
}

const ckrFunctionNotSupported RV = 0x54

// do calls a function. Its arguments that point to memory are converted from
// unsafe.Pointer where do is called, which keeps that memory alive.
//
//go:uintptrescapes
func (l *Library) do(fn int, args ...uintptr) error {
	if l.fn[fn] == 0 {
		return ckrFunctionNotSupported
	}
	return result(call(l.fn[fn], args...))
}

func result(rv uintptr) error {
	if rv = native.result(rv); rv != 0 {
		return RV(rv)
	}
	return nil
}

// at returns the address of b for [Library.do]; nil if b is nil.
func at(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// Initialize calls C_Initialize for use by several threads.
func (l *Library) Initialize() error {
	r := record{abi: native}
	for range 4 { // functions for mutexes
		r.pointer(0)
	}
	r.ulong(flagOSLockingOK)
	r.pointer(0)
	return l.do(fnInitialize, uintptr(at(r.b)))
}

// Finalize calls C_Finalize.
func (l *Library) Finalize() error { return l.do(fnFinalize, 0) }

// Info returns manufacturer and description of CK_INFO, and the version of the library.
func (l *Library) Info() (manufacturer, description string, major, minor byte, _ error) {
	v := native.view(version + 32 + 32 + version + ulong)
	err := l.do(fnGetInfo, uintptr(at(v.b)))
	v.bytes(version)
	manufacturer = string(v.bytes(32))
	v.ulong() // flags
	description = string(v.bytes(32))
	of := v.bytes(version)
	return manufacturer, description, of[0], of[1], err
}

// Slots returns the slots that have a token.
func (l *Library) Slots() ([]uint64, error) {
	return list("C_GetSlotList", func(b []byte, n *[8]byte) error {
		return l.do(fnGetSlotList, 1, uintptr(at(b)), uintptr(unsafe.Pointer(n)))
	})
}

// Mechanisms returns the mechanisms of the token in a slot.
func (l *Library) Mechanisms(slot uint64) ([]uint64, error) {
	return list("C_GetMechanismList", func(b []byte, n *[8]byte) error {
		return l.do(fnGetMechanismList, uintptr(slot), uintptr(at(b)), uintptr(unsafe.Pointer(n)))
	})
}

// list reads a list of CK_ULONG: first its length, then its elements.
func list(function string, read func(b []byte, n *[8]byte) error) ([]uint64, error) {
	for try := 1; ; try++ {
		n := new([8]byte)
		if err := read(nil, n); err != nil {
			return nil, err
		}
		count := native.getUlong(n[:])
		if count == 0 {
			return nil, nil
		}
		if count > maxList {
			return nil, longer(function, count, maxList)
		}
		v := native.view(int(count) * native.ulong)
		err := read(v.b, n)
		if errors.Is(err, ckrBufferTooSmall) && try < maxLists {
			continue
		}
		if err != nil {
			return nil, err
		}
		got := native.getUlong(n[:])
		if got > count {
			return nil, longer(function, got, count)
		}
		return v.ulongs(int(got)), nil
	}
}

// SlotInfo returns description and manufacturer of CK_SLOT_INFO, and its flags.
func (l *Library) SlotInfo(slot uint64) (description, manufacturer string, flags uint64, _ error) {
	v := native.view(64 + 32 + ulong + 2*version)
	err := l.do(fnGetSlotInfo, uintptr(slot), uintptr(at(v.b)))
	return string(v.bytes(64)), string(v.bytes(32)), v.ulong(), err
}

// TokenInfo returns label, manufacturer, model and serial number of CK_TOKEN_INFO, its
// flags, and how many sessions the token allows; 0: unknown or unlimited.
func (l *Library) TokenInfo(slot uint64) (texts []string, flags, maxSessions uint64, _ error) {
	v := native.view(32 + 32 + 16 + 16 + 11*ulong + 2*version + 16)
	err := l.do(fnGetTokenInfo, uintptr(slot), uintptr(at(v.b)))
	for _, n := range []int{32, 32, 16, 16} {
		texts = append(texts, string(v.bytes(n)))
	}
	flags, maxSessions = v.ulong(), v.ulong()
	if maxSessions == native.unavailable() {
		maxSessions = 0
	}
	return texts, flags, maxSessions, err
}

// OpenSession opens a session.
func (l *Library) OpenSession(slot uint64, write bool) (uint64, error) {
	flags := uintptr(flagSerialSession)
	if write {
		flags |= flagRWSession
	}
	session := new([8]byte)
	err := l.do(fnOpenSession, uintptr(slot), flags, 0, 0, uintptr(unsafe.Pointer(session)))
	return native.getUlong(session[:]), err
}

// CloseSession closes a session.
func (l *Library) CloseSession(session uint64) error { return l.do(fnCloseSession, uintptr(session)) }

// LoggedIn reports whether the normal user is logged in.
func (l *Library) LoggedIn(session uint64) (bool, error) {
	v := native.view(4 * ulong)
	err := l.do(fnGetSessionInfo, uintptr(session), uintptr(at(v.b)))
	v.ulong() // the slot
	state := v.ulong()
	return state == stateROUser || state == stateRWUser, err
}

// Login calls C_Login with the memory of pin itself; with NULL if it is nil.
func (l *Library) Login(session, user uint64, pin []byte) error {
	return l.do(fnLogin, uintptr(session), uintptr(user), uintptr(at(pin)), uintptr(len(pin)))
}

// SignInit calls C_SignInit. The mechanism and its parameter stay where they are:
// tpm2-pkcs11 1.9 reads the parameter again in C_Sign.
func (l *Library) SignInit(session, key uint64, m Mechanism) error {
	r, err := l.mechanism(m)
	if err != nil {
		return err
	}
	return l.do(fnSignInit, uintptr(session), uintptr(at(r.b)), uintptr(key))
}

// mechanism returns the only encoding of m in this process.
func (l *Library) mechanism(m Mechanism) (*encoded, error) {
	name := fmt.Sprint(m)
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.mechanisms[name]; e != nil {
		return e, nil
	}
	if len(l.mechanisms) == maxMechanisms {
		return nil, errors.New("too many mechanisms")
	}
	if l.mechanisms == nil {
		l.mechanisms = make(map[string]*encoded)
	}
	r, pin := m.encode()
	l.mechanisms[name] = &encoded{r, pin}
	return l.mechanisms[name], nil
}

// Sign calls C_Sign.
func (l *Library) Sign(session uint64, input []byte) ([]byte, error) {
	if len(input) == 0 {
		input = make([]byte, 0, 1) // modules refuse NULL
	}
	for size := signatureSize; ; {
		b, n := make([]byte, size), new([8]byte)
		native.putUlong(n[:], uint64(size))
		err := l.do(fnSign, uintptr(session), uintptr(at(input)), uintptr(len(input)), uintptr(at(b)), uintptr(unsafe.Pointer(n)))
		got := native.getUlong(n[:])
		tooSmall := errors.Is(err, ckrBufferTooSmall) && got > uint64(size)
		switch {
		case tooSmall && got > maxBytes:
			return nil, longer("C_Sign", got, maxBytes)
		case tooSmall:
			size = int(got) // the operation stays active
			continue
		case err != nil:
			return nil, err
		case got > uint64(size):
			return nil, longer("C_Sign", got, uint64(size))
		}
		return b[:got], nil
	}
}
