package winstore

// A system is what this package asks of Windows. Each method is one call, or
// one that makes no sense without the next. What it opens is released by the
// method named; every error is an [Error]. It is safe for concurrent use, but
// one key is not: see Key.mu.
type system interface {
	// openStore opens a system store that exists; closeStore.
	openStore(l Location, name string, write bool) (storeHandle, error)
	closeStore(s storeHandle) error

	// enumerate returns every certificate of a store; freeCertificate each.
	enumerate(s storeHandle) ([]certHandle, error)
	freeCertificate(c certHandle) error

	der(c certHandle) []byte                                       // a copy
	hasKey(c certHandle) bool                                      // whether something names its key
	keyInfo(c certHandle) (keyInfo, error)                         // CERT_KEY_PROV_INFO_PROP_ID
	addCertificate(s storeHandle, der []byte, info *keyInfo) error // replaces the same one; written when it returns

	// issuers returns c and the certificates of its issuers as Windows finds
	// them in its stores, without network.
	issuers(c certHandle, s storeHandle, l Location) ([][]byte, error)

	// acquire is CryptAcquireCertificatePrivateKey. If mustFree, the handle is
	// the caller's; else it lives as long as c.
	acquire(c certHandle, flags uint32) (h keyHandle, keySpec uint32, mustFree bool, err error)

	// CryptoAPI: a container as a context; releaseContext.
	acquireContext(container, provider string, provType, flags uint32) (keyHandle, error)
	releaseContext(h keyHandle) error
	signHash(h keyHandle, keySpec, algorithm uint32, digest []byte, size int) ([]byte, error) // little-endian

	// CNG: what is opened is released by freeObject.
	openProvider(name string) (keyHandle, error)
	openKey(provider keyHandle, name string, keySpec, flags uint32) (keyHandle, error)
	createKey(provider keyHandle, algorithm, name string, flags uint32) (keyHandle, error)
	setProperty(key keyHandle, name string, value, flags uint32) error
	finalizeKey(key keyHandle, flags uint32) error
	exportPublic(key keyHandle, blobType string) ([]byte, error)
	freeObject(h keyHandle) error
	signDigest(key keyHandle, pad padding, digest []byte, size int, flags uint32) ([]byte, error)
}

type (
	storeHandle uintptr
	keyHandle   uintptr // HCRYPTPROV, NCRYPT_PROV_HANDLE or NCRYPT_KEY_HANDLE
	certHandle  any     // the system's own
)

// A keyInfo says where a certificate's key is (CRYPT_KEY_PROV_INFO).
type keyInfo struct {
	container, provider string
	provType            uint32 // 0: a key of CNG
	flags               uint32
	keySpec             uint32
}

// A padding of RSA, for CNG (BCRYPT_PKCS1_PADDING_INFO, BCRYPT_PSS_PADDING_INFO).
type padding struct {
	kind uint32 // padNone, padPKCS1 or padPSS
	hash string // as CNG calls it
	salt uint32 // in bytes
}

const (
	padNone  = 0
	padPKCS1 = 2 // BCRYPT_PAD_PKCS1
	padPSS   = 8 // BCRYPT_PAD_PSS
)

// Constants of wincrypt.h and ncrypt.h.
const (
	acquireCache        = 0x00001 // CRYPT_ACQUIRE_CACHE_FLAG
	acquireSilent       = 0x00040 // CRYPT_ACQUIRE_SILENT_FLAG
	acquirePreferNCrypt = 0x20000 // CRYPT_ACQUIRE_PREFER_NCRYPT_KEY_FLAG

	machineKey = 0x20 // CRYPT_MACHINE_KEYSET and NCRYPT_MACHINE_KEY_FLAG
	silent     = 0x40 // CRYPT_SILENT and NCRYPT_SILENT_FLAG

	specKeyExchange = 1          // AT_KEYEXCHANGE
	specSignature   = 2          // AT_SIGNATURE
	specNCrypt      = 0xffffffff // CERT_NCRYPT_KEY_SPEC

	provRSAFull     = 1  // PROV_RSA_FULL
	provRSASchannel = 12 // PROV_RSA_SCHANNEL
	provRSAAES      = 24 // PROV_RSA_AES
)
