package winstoretest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	crypt32  = windows.NewLazySystemDLL("crypt32.dll")
	advapi32 = windows.NewLazySystemDLL("advapi32.dll")
	ncrypt   = windows.NewLazySystemDLL("ncrypt.dll")

	certSetProperty     = crypt32.NewProc("CertSetCertificateContextProperty")
	certControlStore    = crypt32.NewProc("CertControlStore")
	certUnregisterStore = crypt32.NewProc("CertUnregisterSystemStore")

	cryptImportKey  = advapi32.NewProc("CryptImportKey")
	cryptDestroyKey = advapi32.NewProc("CryptDestroyKey")

	ncryptOpenStorageProvider = ncrypt.NewProc("NCryptOpenStorageProvider")
	ncryptOpenKey             = ncrypt.NewProc("NCryptOpenKey")
	ncryptImportKey           = ncrypt.NewProc("NCryptImportKey")
	ncryptDeleteKey           = ncrypt.NewProc("NCryptDeleteKey")
	ncryptFreeObject          = ncrypt.NewProc("NCryptFreeObject")
)

// A Provider is a cryptographic service provider (CSP) of CryptoAPI.
type Provider struct {
	Name string
	Type uint32
}

// Providers that are part of Windows.
var (
	AES      = Provider{"Microsoft Enhanced RSA and AES Cryptographic Provider", 24}
	Enhanced = Provider{"Microsoft Enhanced Cryptographic Provider v1.0", 1}
	SChannel = Provider{"Microsoft RSA SChannel Cryptographic Provider", 12}
)

// SoftwareKSP is the CNG key storage provider for software keys.
const SoftwareKSP = "Microsoft Software Key Storage Provider"

// KeyInfo is the key provider information of a certificate
// (CRYPT_KEY_PROV_INFO).
type KeyInfo struct {
	Container, Provider string
	Type, Flags, Spec   uint32
}

// Key specifications of CryptoAPI.
const (
	KeyExchange = 1
	Signature   = 2
)

const machineKeyset = 0x20 // CRYPT_MACHINE_KEYSET, NCRYPT_MACHINE_KEY_FLAG

var counter atomic.Int64

// Name returns a name that no other test uses.
func Name() string { return fmt.Sprintf("holdfast-test-%d-%d", os.Getpid(), counter.Add(1)) }

func utf16(tb testing.TB, s string) *uint16 {
	tb.Helper()
	p, err := windows.UTF16PtrFromString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func scope(machine bool) uint32 {
	if machine {
		return machineKeyset
	}
	return 0
}

// CryptoAPI imports a key into a new key container, which it deletes when the
// test ends.
func CryptoAPI(tb testing.TB, key *rsa.PrivateKey, p Provider, spec uint32, machine bool) KeyInfo {
	tb.Helper()
	info := KeyInfo{Name(), p.Name, p.Type, scope(machine), spec}
	container, provider := utf16(tb, info.Container), utf16(tb, p.Name)
	var h windows.Handle
	if err := windows.CryptAcquireContext(&h, container, provider, p.Type, windows.CRYPT_NEWKEYSET|info.Flags); err != nil {
		skipIfDenied(tb, machine, err)
		tb.Fatalf("create key container: %v", err)
	}
	tb.Cleanup(func() {
		var none windows.Handle
		if err := windows.CryptAcquireContext(&none, container, provider, p.Type, windows.CRYPT_DELETEKEYSET|info.Flags); err != nil {
			tb.Errorf("delete key container: %v", err)
		}
	})
	defer windows.CryptReleaseContext(h, 0)
	blob := capiBlob(key, map[uint32]uint32{KeyExchange: 0xa400, Signature: 0x2400}[spec])
	var imported uintptr
	if r, _, err := cryptImportKey.Call(uintptr(h), uintptr(unsafe.Pointer(&blob[0])), uintptr(len(blob)), 0, 0, uintptr(unsafe.Pointer(&imported))); r == 0 {
		tb.Fatalf("CryptImportKey: %v", err)
	}
	cryptDestroyKey.Call(imported)
	return info
}

func skipIfDenied(tb testing.TB, machine bool, err error) {
	tb.Helper()
	if machine && errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		tb.Skip("only administrators can write to the stores of the machine")
	}
}

// capiBlob returns a PRIVATEKEYBLOB: a header, and the numbers in little-endian
// order.
func capiBlob(key *rsa.PrivateKey, algorithm uint32) []byte {
	n := key.Size()
	b := binary.LittleEndian.AppendUint32(nil, 0x207) // PRIVATEKEYBLOB, version 2
	for _, v := range []uint32{algorithm, 0x32415352, uint32(n * 8), uint32(key.E)} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for _, part := range rsaParts(key) {
		slices.Reverse(part)
		b = append(b, part...)
	}
	return b
}

// rsaParts returns the modulus, primes, exponents, coefficient and private
// exponent. Both APIs use this order.
func rsaParts(key *rsa.PrivateKey) (parts [][]byte) {
	n := key.Size()
	for _, p := range []struct {
		v    *big.Int
		size int
	}{
		{key.N, n}, {key.Primes[0], n / 2}, {key.Primes[1], n / 2},
		{key.Precomputed.Dp, n / 2}, {key.Precomputed.Dq, n / 2}, {key.Precomputed.Qinv, n / 2}, {key.D, n},
	} {
		parts = append(parts, p.v.FillBytes(make([]byte, p.size)))
	}
	return parts
}

// cngBlob returns a BCRYPT_RSAFULLPRIVATE_BLOB or a BCRYPT_ECCPRIVATE_BLOB.
func cngBlob(tb testing.TB, key crypto.Signer) (blobType string, b []byte) {
	tb.Helper()
	put := func(all ...uint32) {
		for _, v := range all {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		n := uint32(key.Size())
		put(0x33415352, n*8, 3, n, n/2, n/2)
		return "RSAFULLPRIVATEBLOB", append(append(b, 1, 0, 1), bytes.Join(rsaParts(key), nil)...)
	case *ecdsa.PrivateKey:
		n := (key.Curve.Params().BitSize + 7) / 8
		put(map[int]uint32{32: 0x32534345, 48: 0x34534345, 66: 0x36534345}[n], uint32(n))
		point, err := key.PublicKey.Bytes()
		if err != nil {
			tb.Fatal(err)
		}
		d, err := key.Bytes()
		if err != nil {
			tb.Fatal(err)
		}
		return "ECCPRIVATEBLOB", append(append(b, point[1:]...), d...)
	}
	tb.Fatalf("no CNG blob for %T", key)
	return "", nil
}

// Wine reports whether the test runs under Wine.
func Wine() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}

// unsupported skips a test because ncrypt.dll does not support a call. If
// HOLDFAST_REQUIRE contains ncrypt, it fails the test instead.
func unsupported(tb testing.TB, call string, status uint32) {
	tb.Helper()
	if slices.Contains(strings.Split(os.Getenv("HOLDFAST_REQUIRE"), ","), "ncrypt") {
		tb.Fatalf("%s: 0x%08x", call, status)
	}
	tb.Skipf("%s: 0x%08x: not supported by this ncrypt.dll", call, status)
}

func openProvider(tb testing.TB) uintptr {
	tb.Helper()
	var h uintptr
	if r, _, _ := ncryptOpenStorageProvider.Call(uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(utf16(tb, SoftwareKSP))), 0); uint32(r) != 0 {
		tb.Fatalf("NCryptOpenStorageProvider: 0x%08x", uint32(r))
	}
	return h
}

// CNG imports a key into the software provider under a new name, and deletes it
// when the test ends. It skips the test if ncrypt.dll does not support named
// keys, as in Wine.
func CNG(tb testing.TB, key crypto.Signer, machine bool) KeyInfo {
	tb.Helper()
	info := KeyInfo{Container: Name(), Provider: SoftwareKSP, Flags: scope(machine)}
	name := windows.StringToUTF16(info.Container)
	const keyName = 45 // NCRYPTBUFFER_PKCS_KEY_NAME
	buffer := &struct {
		size, kind uint32
		data       *uint16
	}{uint32(len(name) * 2), keyName, &name[0]}
	desc := &struct {
		version, count uint32
		buffers        unsafe.Pointer
	}{0, 1, unsafe.Pointer(buffer)}
	h := importCNG(tb, key, unsafe.Pointer(desc), info.Flags)
	ncryptFreeObject.Call(h)
	tb.Cleanup(func() { DeleteCNG(tb, info.Container, machine) })
	return info
}

// AttachedCNG imports a key without a name and returns its handle, which is valid
// until the test ends.
func AttachedCNG(tb testing.TB, key crypto.Signer) uintptr {
	tb.Helper()
	h := importCNG(tb, key, nil, 0)
	tb.Cleanup(func() { ncryptFreeObject.Call(h) })
	return h
}

func importCNG(tb testing.TB, key crypto.Signer, parameters unsafe.Pointer, flags uint32) uintptr {
	tb.Helper()
	prov := openProvider(tb)
	defer ncryptFreeObject.Call(prov)
	blobType, blob := cngBlob(tb, key)
	var h uintptr
	if r, _, _ := ncryptImportKey.Call(prov, 0, uintptr(unsafe.Pointer(utf16(tb, blobType))), uintptr(parameters),
		uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(&blob[0])), uintptr(len(blob)), uintptr(flags)); uint32(r) != 0 {
		unsupported(tb, "NCryptImportKey", uint32(r))
	}
	return h
}

// DeleteCNG deletes a key from the software provider.
func DeleteCNG(tb testing.TB, name string, machine bool) {
	tb.Helper()
	prov := openProvider(tb)
	defer ncryptFreeObject.Call(prov)
	var h uintptr
	if r, _, _ := ncryptOpenKey.Call(prov, uintptr(unsafe.Pointer(&h)), uintptr(unsafe.Pointer(utf16(tb, name))), 0, uintptr(scope(machine))); uint32(r) != 0 {
		tb.Errorf("NCryptOpenKey: 0x%08x", uint32(r))
		return
	}
	if r, _, _ := ncryptDeleteKey.Call(h, 0); uint32(r) != 0 {
		tb.Errorf("NCryptDeleteKey: 0x%08x", uint32(r))
	}
}

// RequireNamedCNG skips the test if ncrypt.dll does not support named keys, as in
// Wine.
func RequireNamedCNG(tb testing.TB, key crypto.Signer) {
	tb.Helper()
	CNG(tb, key, false)
}

func location(machine bool) uint32 {
	if machine {
		return windows.CERT_SYSTEM_STORE_LOCAL_MACHINE
	}
	return windows.CERT_SYSTEM_STORE_CURRENT_USER
}

// Store creates a system store and returns its name. It removes the store when
// the test ends.
func Store(tb testing.TB, machine bool) string {
	tb.Helper()
	name := Name()
	closeStore(tb, openStore(tb, name, machine))
	tb.Cleanup(func() {
		const deleteFlag = 0x10 // CERT_STORE_DELETE_FLAG
		if r, _, err := certUnregisterStore.Call(uintptr(unsafe.Pointer(utf16(tb, name))), uintptr(location(machine)|deleteFlag)); r == 0 {
			tb.Logf("remove store %s: %v", name, err)
		}
	})
	return name
}

func openStore(tb testing.TB, name string, machine bool) windows.Handle {
	tb.Helper()
	h, err := windows.CertOpenStore(windows.CERT_STORE_PROV_SYSTEM_W, 0, 0, location(machine), uintptr(unsafe.Pointer(utf16(tb, name))))
	if err != nil {
		skipIfDenied(tb, machine, err)
		tb.Fatalf("open store %s: %v", name, err)
	}
	return h
}

func closeStore(tb testing.TB, h windows.Handle) {
	tb.Helper()
	if err := windows.CertCloseStore(h, 0); err != nil {
		tb.Errorf("close store: %v", err)
	}
}

// Add adds a certificate to a store and links it to the key of info, unless info
// is nil. It removes the certificate when the test ends.
func Add(tb testing.TB, store string, machine bool, cert *x509.Certificate, info *KeyInfo) {
	tb.Helper()
	h := openStore(tb, store, machine)
	c := addTo(tb, h, cert)
	if info != nil {
		p := &struct {
			container, provider *uint16
			kind, flags, count  uint32
			params              uintptr
			spec                uint32
		}{container: utf16(tb, info.Container), provider: utf16(tb, info.Provider), kind: info.Type, flags: info.Flags, spec: info.Spec}
		setProperty(tb, c, 2, unsafe.Pointer(p)) // CERT_KEY_PROV_INFO_PROP_ID
	}
	windows.CertFreeCertificateContext(c)
	commit(tb, h)
	closeStore(tb, h)
	tb.Cleanup(func() { remove(tb, store, machine, cert) })
}

func addTo(tb testing.TB, store windows.Handle, cert *x509.Certificate) *windows.CertContext {
	tb.Helper()
	c, err := windows.CertCreateCertificateContext(windows.X509_ASN_ENCODING, &cert.Raw[0], uint32(len(cert.Raw)))
	if err != nil {
		tb.Fatal(err)
	}
	defer windows.CertFreeCertificateContext(c)
	var added *windows.CertContext
	if err := windows.CertAddCertificateContextToStore(store, c, windows.CERT_STORE_ADD_REPLACE_EXISTING, &added); err != nil {
		tb.Fatalf("add certificate: %v", err)
	}
	return added
}

func setProperty(tb testing.TB, c *windows.CertContext, id uintptr, value unsafe.Pointer) {
	tb.Helper()
	if r, _, err := certSetProperty.Call(uintptr(unsafe.Pointer(c)), id, 0, uintptr(value)); r == 0 {
		tb.Fatalf("set property %d: %v", id, err)
	}
}

// commit writes the changes to a store. Otherwise Wine loses them if the store is
// closed before a certificate context is freed.
func commit(tb testing.TB, store windows.Handle) {
	tb.Helper()
	const ctrlCommit = 3 // CERT_STORE_CTRL_COMMIT
	if r, _, err := certControlStore.Call(uintptr(store), 0, ctrlCommit, 0); r == 0 {
		tb.Fatalf("commit: %v", err)
	}
}

// Contents returns the certificates in a store, in DER.
func Contents(tb testing.TB, store string, machine bool) (all [][]byte) {
	tb.Helper()
	h := openStore(tb, store, machine)
	defer closeStore(tb, h)
	for c := (*windows.CertContext)(nil); ; {
		if c, _ = windows.CertEnumCertificatesInStore(h, c); c == nil {
			return all
		}
		all = append(all, bytes.Clone(unsafe.Slice(c.EncodedCert, c.Length)))
	}
}

func remove(tb testing.TB, store string, machine bool, cert *x509.Certificate) {
	tb.Helper()
	h := openStore(tb, store, machine)
	defer closeStore(tb, h)
	for c := (*windows.CertContext)(nil); ; {
		if c, _ = windows.CertEnumCertificatesInStore(h, c); c == nil {
			return
		}
		if !bytes.Equal(unsafe.Slice(c.EncodedCert, c.Length), cert.Raw) {
			continue
		}
		if err := windows.CertDeleteCertificateFromStore(windows.CertDuplicateCertificateContext(c)); err != nil {
			tb.Errorf("remove certificate: %v", err)
		}
		windows.CertFreeCertificateContext(c)
		commit(tb, h)
		return
	}
}

// MemoryStore creates a store in memory with one certificate and attaches a CNG
// key handle to the certificate. It returns the HCERTSTORE, which the caller
// closes.
func MemoryStore(tb testing.TB, cert *x509.Certificate, key uintptr) uintptr {
	tb.Helper()
	h, err := windows.CertOpenStore(windows.CERT_STORE_PROV_MEMORY, 0, 0, windows.CERT_STORE_CREATE_NEW_FLAG, 0)
	if err != nil {
		tb.Fatal(err)
	}
	c := addTo(tb, h, cert)
	defer windows.CertFreeCertificateContext(c)
	context := &struct {
		size uint32
		key  uintptr
		spec uint32
	}{key: key, spec: 0xffffffff} // CERT_NCRYPT_KEY_SPEC
	context.size = uint32(unsafe.Sizeof(*context))
	setProperty(tb, c, 5, unsafe.Pointer(context)) // CERT_KEY_CONTEXT_PROP_ID
	return uintptr(h)
}
