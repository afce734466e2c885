package winstore

// A system is the part of the Windows API that this package uses. Each method is
// one call, or a few calls that belong together. Every error is an [Error]. A
// system is safe for concurrent use, but a single key is not: see Key.mu.
type system interface {
	// openStore opens an existing system store. closeStore closes it.
	openStore(l Location, name string, write bool) (storeHandle, error)
	closeStore(s storeHandle) error

	// enumerate returns all certificates in a store. On error it returns
	// those that it has read. freeCertificate frees each of them.
	enumerate(s storeHandle) ([]certHandle, error)
	freeCertificate(c certHandle) error

	der(c certHandle) []byte               // a copy of the certificate
	hasKey(c certHandle) bool              // whether the certificate refers to a private key
	keyInfo(c certHandle) (keyInfo, error) // CERT_KEY_PROV_INFO_PROP_ID

	// addCertificate adds a certificate to a store and commits it. With info,
	// it links the certificate to a key and replaces an existing copy.
	addCertificate(s storeHandle, der []byte, info *keyInfo) error

	// deleteCertificate removes the certificate from its store, which is open
	// for writing, and frees c even on error. It does not touch its key.
	deleteCertificate(c certHandle) error

	// issuers returns c and the certificates of its issuers that Windows
	// finds in its stores. It does not use the network.
	issuers(c certHandle, s storeHandle, l Location) ([][]byte, error)

	// acquire calls CryptAcquireCertificatePrivateKey. If mustFree is true,
	// the caller owns the handle. Otherwise the handle is valid as long as c.
	acquire(c certHandle, flags uint32) (h keyHandle, keySpec uint32, mustFree bool, err error)

	// CryptoAPI: acquireContext opens a key container, and releaseContext
	// closes it. signHash returns the signature in little-endian order.
	acquireContext(container, provider string, provType, flags uint32) (keyHandle, error)
	releaseContext(h keyHandle) error
	signHash(h keyHandle, keySpec, algorithm uint32, digest []byte, size int) ([]byte, error)

	// CNG: freeObject frees the handles of providers and keys.
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
	certHandle  any     // of a type that each system defines
)

// A keyInfo is the key provider information of a certificate
// (CRYPT_KEY_PROV_INFO).
type keyInfo struct {
	container, provider string
	provType            uint32 // 0: a CNG key
	flags               uint32
	keySpec             uint32
}

// A padding is an RSA padding of CNG (BCRYPT_PKCS1_PADDING_INFO or
// BCRYPT_PSS_PADDING_INFO).
type padding struct {
	kind uint32 // padNone, padPKCS1 or padPSS
	hash string // a CNG algorithm identifier
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
