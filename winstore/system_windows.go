package winstore

import (
	"errors"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Procedures that are not in x/sys/windows.
var (
	crypt32  = windows.NewLazySystemDLL("crypt32.dll")
	advapi32 = windows.NewLazySystemDLL("advapi32.dll")
	ncrypt   = windows.NewLazySystemDLL("ncrypt.dll")

	certGetProperty  = crypt32.NewProc("CertGetCertificateContextProperty")
	certSetProperty  = crypt32.NewProc("CertSetCertificateContextProperty")
	certControlStore = crypt32.NewProc("CertControlStore")

	cryptCreateHash   = advapi32.NewProc("CryptCreateHash")
	cryptDestroyHash  = advapi32.NewProc("CryptDestroyHash")
	cryptSetHashParam = advapi32.NewProc("CryptSetHashParam")
	cryptSignHash     = advapi32.NewProc("CryptSignHashW")

	ncryptOpenStorageProvider = ncrypt.NewProc("NCryptOpenStorageProvider")
	ncryptOpenKey             = ncrypt.NewProc("NCryptOpenKey")
	ncryptCreatePersistedKey  = ncrypt.NewProc("NCryptCreatePersistedKey")
	ncryptSetProperty         = ncrypt.NewProc("NCryptSetProperty")
	ncryptFinalizeKey         = ncrypt.NewProc("NCryptFinalizeKey")
	ncryptExportKey           = ncrypt.NewProc("NCryptExportKey")
	ncryptFreeObject          = ncrypt.NewProc("NCryptFreeObject")
	ncryptSignHash            = ncrypt.NewProc("NCryptSignHash")
)

// A windowsSystem is the system that calls Windows.
type windowsSystem struct{}

func newSystem() (system, error) { return windowsSystem{}, nil }

// toError converts the error of a call to an [Error].
func toError(err error) error {
	var code syscall.Errno
	switch {
	case err == nil || !errors.As(err, &code):
		return err
	case code == 0:
		return errUnimplemented
	}
	return Error(code)
}

// callBool calls a procedure that returns a BOOL and sets the last error. The
// directive keeps the memory that args point to in place until the call returns,
// as for a system call. Otherwise a growing stack would move it.
//
//go:uintptrescapes
func callBool(p *windows.LazyProc, args ...uintptr) error {
	if err := p.Find(); err != nil {
		return errNotSupported
	}
	if r, _, err := p.Call(args...); r == 0 {
		return toError(err)
	}
	return nil
}

// callStatus calls a procedure that returns a SECURITY_STATUS. For the
// directive, see callBool.
//
//go:uintptrescapes
func callStatus(p *windows.LazyProc, args ...uintptr) error {
	if err := p.Find(); err != nil {
		return errNotSupported
	}
	if r, _, _ := p.Call(args...); uint32(r) != 0 {
		return Error(uint32(r))
	}
	return nil
}

// utf16 returns s in UTF-16 with a terminating NUL. s contains no NUL: Config is
// checked, and Windows does not return such names.
func utf16(s string) *uint16 {
	p, err := windows.UTF16PtrFromString(s)
	if err != nil {
		return new(uint16)
	}
	return p
}

var locations = map[Location]uint32{
	User:    windows.CERT_SYSTEM_STORE_CURRENT_USER,
	Machine: windows.CERT_SYSTEM_STORE_LOCAL_MACHINE,
}

func (windowsSystem) openStore(l Location, name string, write bool) (storeHandle, error) {
	flags := locations[l] | windows.CERT_STORE_OPEN_EXISTING_FLAG
	if !write {
		flags |= windows.CERT_STORE_READONLY_FLAG
	}
	h, err := windows.CertOpenStore(windows.CERT_STORE_PROV_SYSTEM_W, 0, 0, flags, uintptr(unsafe.Pointer(utf16(name))))
	return storeHandle(h), toError(err)
}

func (windowsSystem) closeStore(s storeHandle) error {
	return toError(windows.CertCloseStore(windows.Handle(s), 0))
}

func (windowsSystem) enumerate(s storeHandle) (all []certHandle, _ error) {
	var c *windows.CertContext
	for {
		var err error
		c, err = windows.CertEnumCertificatesInStore(windows.Handle(s), c) // frees the previous context
		if c == nil {
			if code := toError(err); err != nil && code != cryptNotFound && code != errNoMoreFiles {
				return all, code
			}
			return all, nil
		}
		all = append(all, windows.CertDuplicateCertificateContext(c))
	}
}

func certContext(c certHandle) *windows.CertContext { return c.(*windows.CertContext) }

func (windowsSystem) freeCertificate(c certHandle) error {
	return toError(windows.CertFreeCertificateContext(certContext(c)))
}

func encoded(c *windows.CertContext) []byte {
	return append([]byte(nil), unsafe.Slice(c.EncodedCert, c.Length)...)
}

func (windowsSystem) der(c certHandle) []byte { return encoded(certContext(c)) }

// Certificate properties of wincrypt.h.
const (
	certKeyProvInfo     = 2  // CERT_KEY_PROV_INFO_PROP_ID
	certKeyContext      = 5  // CERT_KEY_CONTEXT_PROP_ID
	certNCryptKeyHandle = 78 // CERT_NCRYPT_KEY_HANDLE_PROP_ID
)

// property returns the value of a certificate property.
func property(c *windows.CertContext, id uintptr) ([]byte, error) {
	var n uint32
	if err := callBool(certGetProperty, uintptr(unsafe.Pointer(c)), id, 0, uintptr(unsafe.Pointer(&n))); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, cryptNotFound
	}
	b := make([]byte, n)
	if err := callBool(certGetProperty, uintptr(unsafe.Pointer(c)), id, uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n))); err != nil {
		return nil, err
	}
	return b[:n], nil
}

func (windowsSystem) hasKey(c certHandle) bool {
	for _, id := range []uintptr{certKeyProvInfo, certKeyContext, certNCryptKeyHandle} {
		if b, err := property(certContext(c), id); err == nil && len(b) > 0 {
			return true
		}
	}
	return false
}

// cryptKeyProvInfo is CRYPT_KEY_PROV_INFO.
type cryptKeyProvInfo struct {
	container, provider *uint16
	provType, flags     uint32
	paramCount          uint32
	params              uintptr
	keySpec             uint32
}

func (windowsSystem) keyInfo(c certHandle) (keyInfo, error) {
	b, err := property(certContext(c), certKeyProvInfo)
	if err != nil {
		return keyInfo{}, err
	}
	if len(b) < int(unsafe.Sizeof(cryptKeyProvInfo{})) {
		return keyInfo{}, nteBadData
	}
	info := (*cryptKeyProvInfo)(unsafe.Pointer(&b[0])) // its names follow it in b
	result := keyInfo{
		container: windows.UTF16PtrToString(info.container),
		provider:  windows.UTF16PtrToString(info.provider),
		provType:  info.provType,
		flags:     info.flags,
		keySpec:   info.keySpec,
	}
	runtime.KeepAlive(b)
	return result, nil
}

const certStoreCtrlCommit = 3 // CERT_STORE_CTRL_COMMIT

func (windowsSystem) addCertificate(s storeHandle, der []byte, info *keyInfo) (err error) {
	c, err := windows.CertCreateCertificateContext(windows.X509_ASN_ENCODING, &der[0], uint32(len(der)))
	if err != nil {
		return toError(err)
	}
	defer func() { err = errors.Join(err, toError(windows.CertFreeCertificateContext(c))) }()
	disposition := uint32(windows.CERT_STORE_ADD_USE_EXISTING)
	if info != nil {
		disposition = windows.CERT_STORE_ADD_REPLACE_EXISTING
	}
	var added *windows.CertContext
	if err := windows.CertAddCertificateContextToStore(windows.Handle(s), c, disposition, &added); err != nil {
		return toError(err)
	}
	defer func() { err = errors.Join(err, toError(windows.CertFreeCertificateContext(added))) }()
	if info != nil {
		p := &cryptKeyProvInfo{
			container: utf16(info.container), provider: utf16(info.provider),
			provType: info.provType, flags: info.flags, keySpec: info.keySpec,
		}
		err := callBool(certSetProperty, uintptr(unsafe.Pointer(added)), certKeyProvInfo, 0, uintptr(unsafe.Pointer(p)))
		runtime.KeepAlive(p)
		if err != nil {
			return err
		}
	}
	// Commit now, so that a write error is returned here.
	return callBool(certControlStore, uintptr(s), 0, certStoreCtrlCommit, 0)
}

func (windowsSystem) deleteCertificate(c certHandle) error {
	return toError(windows.CertDeleteCertificateFromStore(certContext(c)))
}

func (windowsSystem) issuers(c certHandle, s storeHandle, l Location) (ders [][]byte, _ error) {
	const (
		hcceLocalMachine = 1
		cacheOnly        = 4 // CERT_CHAIN_CACHE_ONLY_URL_RETRIEVAL
	)
	engine := windows.Handle(0)
	if l == Machine {
		engine = hcceLocalMachine
	}
	para := windows.CertChainPara{Size: uint32(unsafe.Sizeof(windows.CertChainPara{}))}
	var chain *windows.CertChainContext
	if err := windows.CertGetCertificateChain(engine, certContext(c), nil, windows.Handle(s), &para,
		cacheOnly, 0, &chain); err != nil {
		return nil, toError(err)
	}
	defer windows.CertFreeCertificateChain(chain)
	for _, simple := range unsafe.Slice(chain.Chains, chain.ChainCount) {
		for _, e := range unsafe.Slice(simple.Elements, simple.NumElements) {
			ders = append(ders, encoded(e.CertContext))
		}
	}
	return ders, nil
}

func (windowsSystem) acquire(c certHandle, flags uint32) (keyHandle, uint32, bool, error) {
	var h windows.Handle
	var spec uint32
	var free bool
	err := windows.CryptAcquireCertificatePrivateKey(certContext(c), flags, nil, &h, &spec, &free)
	return keyHandle(h), spec, free, toError(err)
}

func (windowsSystem) acquireContext(container, provider string, provType, flags uint32) (keyHandle, error) {
	var h windows.Handle
	var name *uint16
	if provider != "" {
		name = utf16(provider)
	}
	err := windows.CryptAcquireContext(&h, utf16(container), name, provType, flags)
	return keyHandle(h), toError(err)
}

func (windowsSystem) releaseContext(h keyHandle) error {
	return toError(windows.CryptReleaseContext(windows.Handle(h), 0))
}

func (windowsSystem) signHash(h keyHandle, keySpec, algorithm uint32, digest []byte, size int) (_ []byte, err error) {
	const hpHashVal = 2
	var hash uintptr
	if err := callBool(cryptCreateHash, uintptr(h), uintptr(algorithm), 0, 0, uintptr(unsafe.Pointer(&hash))); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, callBool(cryptDestroyHash, hash)) }()
	if err := callBool(cryptSetHashParam, hash, hpHashVal, uintptr(unsafe.Pointer(&digest[0])), 0); err != nil {
		return nil, err
	}
	sig := make([]byte, size)
	n := uint32(size)
	if err := callBool(cryptSignHash, hash, uintptr(keySpec), 0, 0, uintptr(unsafe.Pointer(&sig[0])), uintptr(unsafe.Pointer(&n))); err != nil {
		return nil, err
	}
	return sig[:min(n, uint32(size))], nil
}

func (windowsSystem) openProvider(name string) (keyHandle, error) {
	var h keyHandle
	err := callStatus(ncryptOpenStorageProvider, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(utf16(name))), 0)
	return h, err
}

func (windowsSystem) openKey(provider keyHandle, name string, keySpec, flags uint32) (keyHandle, error) {
	var h keyHandle
	err := callStatus(ncryptOpenKey, uintptr(provider), uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(utf16(name))), uintptr(keySpec), uintptr(flags))
	return h, err
}

func (windowsSystem) createKey(provider keyHandle, algorithm, name string, flags uint32) (keyHandle, error) {
	var h keyHandle
	err := callStatus(ncryptCreatePersistedKey, uintptr(provider), uintptr(unsafe.Pointer(&h)),
		uintptr(unsafe.Pointer(utf16(algorithm))), uintptr(unsafe.Pointer(utf16(name))), 0, uintptr(flags))
	return h, err
}

func (windowsSystem) setProperty(key keyHandle, name string, value, flags uint32) error {
	return callStatus(ncryptSetProperty, uintptr(key), uintptr(unsafe.Pointer(utf16(name))),
		uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), uintptr(flags))
}

func (windowsSystem) finalizeKey(key keyHandle, flags uint32) error {
	return callStatus(ncryptFinalizeKey, uintptr(key), uintptr(flags))
}

func (windowsSystem) exportPublic(key keyHandle, blobType string) ([]byte, error) {
	b := make([]byte, 8<<10) // larger than any public key blob
	var n uint32
	if err := callStatus(ncryptExportKey, uintptr(key), 0, uintptr(unsafe.Pointer(utf16(blobType))), 0,
		uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&n)), 0); err != nil {
		return nil, err
	}
	return b[:min(int(n), len(b))], nil
}

func (windowsSystem) freeObject(h keyHandle) error { return callStatus(ncryptFreeObject, uintptr(h)) }

// paddingInfo is BCRYPT_PSS_PADDING_INFO, whose first field is also
// BCRYPT_PKCS1_PADDING_INFO.
type paddingInfo struct {
	hash *uint16
	salt uint32
}

// signDigest does not query the size of the signature, because Wine returns half
// of it for ECDSA.
func (windowsSystem) signDigest(key keyHandle, pad padding, digest []byte, size int, flags uint32) ([]byte, error) {
	var info *paddingInfo
	var pin runtime.Pinner
	defer pin.Unpin()
	if pad.kind != padNone {
		name := utf16(pad.hash)
		pin.Pin(name)
		info = &paddingInfo{name, pad.salt}
		pin.Pin(info)
	}
	sig := make([]byte, size)
	var n uint32
	if err := callStatus(ncryptSignHash, uintptr(key), uintptr(unsafe.Pointer(info)),
		uintptr(unsafe.Pointer(&digest[0])), uintptr(len(digest)),
		uintptr(unsafe.Pointer(&sig[0])), uintptr(size), uintptr(unsafe.Pointer(&n)),
		uintptr(pad.kind|flags)); err != nil {
		return nil, err
	}
	return sig[:min(n, uint32(size))], nil
}
