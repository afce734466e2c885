//go:build darwin || (linux && (amd64 || arm64))

// Package secfw calls CoreFoundation and Security.framework without cgo. It
// implements [native.System] on a Mac.
//
// It builds on Linux so that its tests can run the same code against a double of
// the two libraries. Programs for Linux must not link it, because purego makes a
// static binary dynamic.
package secfw

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

// A Ref is any CFTypeRef. It is not an unsafe.Pointer, because it never points to
// Go memory, and some CoreFoundation objects are tagged pointers, which are not
// addresses.
type Ref uintptr

// A symbol is a C function and the address of the Go variable to which it is
// bound. The types follow testdata/prototypes.txt. They also follow these rules,
// so that calls work the same way on amd64 and arm64: no structs by value, no
// variadic functions, no floating point, at most six arguments, and results with
// the width of the C type (OSStatus int32, Boolean uint8), because the rest of
// the register is undefined.
type symbol struct {
	name string
	fn   any
}

// An API is the two loaded libraries. It does not change after [Load] and is safe
// for concurrent use.
type API struct {
	cf        cfFunctions
	sec       secFunctions
	constants map[string]Ref     // CFTypeRef constants: the values of the C variables
	callbacks map[string]uintptr // callback structs: the addresses of the C variables
}

type cfFunctions struct {
	Retain              func(Ref) Ref
	Release             func(Ref)
	GetTypeID           func(Ref) uint
	DataGetTypeID       func() uint
	StringGetTypeID     func() uint
	ArrayGetTypeID      func() uint
	DictionaryGetTypeID func() uint

	DataCreate     func(allocator Ref, p *byte, n int) Ref
	DataGetLength  func(Ref) int
	DataGetBytePtr func(Ref) *byte

	StringGetLength                 func(Ref) int
	StringGetMaximumSizeForEncoding func(n int, encoding uint32) int
	StringGetCString                func(s Ref, buf *byte, size int, encoding uint32) uint8

	ArrayGetCount        func(Ref) int
	ArrayGetValueAtIndex func(Ref, int) Ref

	DictionaryCreate   func(allocator Ref, keys, values *Ref, n int, keyCallbacks, valueCallbacks uintptr) Ref
	DictionaryGetValue func(d, key Ref) Ref

	ErrorGetCode         func(Ref) int
	ErrorGetDomain       func(Ref) Ref
	ErrorCopyDescription func(Ref) Ref
}

type secFunctions struct {
	ItemCopyMatching        func(query Ref, result *Ref) int32
	IdentityGetTypeID       func() uint
	IdentityCopyCertificate func(identity Ref, cert *Ref) int32
	IdentityCopyPrivateKey  func(identity Ref, key *Ref) int32
	CertificateGetTypeID    func() uint
	CertificateCopyData     func(Ref) Ref
	KeyCreateSignature      func(key, algorithm, data Ref, err *Ref) Ref
	KeyIsAlgorithmSupported func(key Ref, operation int, algorithm Ref) uint8
	CopyErrorMessageString  func(status int32, reserved uintptr) Ref
}

func (f *cfFunctions) symbols() []symbol {
	return []symbol{
		{"CFRetain", &f.Retain},
		{"CFRelease", &f.Release},
		{"CFGetTypeID", &f.GetTypeID},
		{"CFDataGetTypeID", &f.DataGetTypeID},
		{"CFStringGetTypeID", &f.StringGetTypeID},
		{"CFArrayGetTypeID", &f.ArrayGetTypeID},
		{"CFDictionaryGetTypeID", &f.DictionaryGetTypeID},
		{"CFDataCreate", &f.DataCreate},
		{"CFDataGetLength", &f.DataGetLength},
		{"CFDataGetBytePtr", &f.DataGetBytePtr},
		{"CFStringGetLength", &f.StringGetLength},
		{"CFStringGetMaximumSizeForEncoding", &f.StringGetMaximumSizeForEncoding},
		{"CFStringGetCString", &f.StringGetCString},
		{"CFArrayGetCount", &f.ArrayGetCount},
		{"CFArrayGetValueAtIndex", &f.ArrayGetValueAtIndex},
		{"CFDictionaryCreate", &f.DictionaryCreate},
		{"CFDictionaryGetValue", &f.DictionaryGetValue},
		{"CFErrorGetCode", &f.ErrorGetCode},
		{"CFErrorGetDomain", &f.ErrorGetDomain},
		{"CFErrorCopyDescription", &f.ErrorCopyDescription},
	}
}

func (f *secFunctions) symbols() []symbol {
	return []symbol{
		{"SecItemCopyMatching", &f.ItemCopyMatching},
		{"SecIdentityGetTypeID", &f.IdentityGetTypeID},
		{"SecIdentityCopyCertificate", &f.IdentityCopyCertificate},
		{"SecIdentityCopyPrivateKey", &f.IdentityCopyPrivateKey},
		{"SecCertificateGetTypeID", &f.CertificateGetTypeID},
		{"SecCertificateCopyData", &f.CertificateCopyData},
		{"SecKeyCreateSignature", &f.KeyCreateSignature},
		{"SecKeyIsAlgorithmSupported", &f.KeyIsAlgorithmSupported},
		{"SecCopyErrorMessageString", &f.CopyErrorMessageString},
	}
}

// The constants whose values are used, by library.
var (
	cfConstants  = []string{"kCFBooleanTrue", "kCFBooleanFalse"}
	secConstants = []string{
		"kSecClass", "kSecClassIdentity", "kSecClassCertificate",
		"kSecMatchLimit", "kSecMatchLimitAll",
		"kSecReturnRef", "kSecReturnAttributes", "kSecValueRef",
		"kSecAttrLabel", "kSecAttrTokenID", "kSecAttrAccessGroup", "kSecAttrAccessGroupToken",
		"kSecUseDataProtectionKeychain",
		"kSecKeyAlgorithmECDSASignatureDigestX962SHA256",
		"kSecKeyAlgorithmECDSASignatureDigestX962SHA384",
		"kSecKeyAlgorithmECDSASignatureDigestX962SHA512",
		"kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA256",
		"kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA384",
		"kSecKeyAlgorithmRSASignatureDigestPKCS1v15SHA512",
		"kSecKeyAlgorithmRSASignatureDigestPSSSHA256",
		"kSecKeyAlgorithmRSASignatureDigestPSSSHA384",
		"kSecKeyAlgorithmRSASignatureDigestPSSSHA512",
	}
)

// cfCallbacks are structs that are passed by address. Every dictionary needs
// them: with NULL, it compares keys by address and does not retain them.
var cfCallbacks = []string{"kCFTypeDictionaryKeyCallBacks", "kCFTypeDictionaryValueCallBacks"}

// Load opens the two libraries by their dlopen names. Its error lists all missing
// symbols. The libraries stay loaded, even on error, because frameworks cannot be
// unloaded.
func Load(coreFoundation, security string) (*API, error) {
	cf, err := purego.Dlopen(coreFoundation, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load CoreFoundation: %w", err)
	}
	sec, err := purego.Dlopen(security, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load Security: %w", err)
	}
	a := &API{constants: make(map[string]Ref), callbacks: make(map[string]uintptr)}
	l := loader{}
	l.functions(cf, a.cf.symbols())
	l.functions(sec, a.sec.symbols())
	l.constants(cf, cfConstants, a.constants)
	l.constants(sec, secConstants, a.constants)
	for _, name := range cfCallbacks {
		a.callbacks[name] = l.find(cf, name)
	}
	if err := errors.Join(l.missing...); err != nil {
		return nil, err
	}
	return a, nil
}

// A loader resolves symbols and collects errors for missing ones.
type loader struct{ missing []error }

func (l *loader) find(library uintptr, name string) uintptr {
	p, err := purego.Dlsym(library, name)
	if err != nil {
		l.missing = append(l.missing, fmt.Errorf("symbol %s: %w", name, err))
		return 0
	}
	return p
}

func (l *loader) functions(library uintptr, all []symbol) {
	for _, s := range all {
		if p := l.find(library, s.name); p != 0 {
			purego.RegisterFunc(s.fn, p)
		}
	}
}

func (l *loader) constants(library uintptr, names []string, to map[string]Ref) {
	for _, name := range names {
		p := l.find(library, name)
		if p == 0 {
			continue
		}
		if to[name] = Ref(loadWord(p)); to[name] == 0 {
			l.missing = append(l.missing, fmt.Errorf("constant %s is NULL", name))
		}
	}
}

// loadWord reads the word at a C address. It converts &p and not p, because vet's
// unsafeptr check rejects the conversion of a uintptr to a pointer.
func loadWord(p uintptr) uintptr { return **(**uintptr)(unsafe.Pointer(&p)) }
