package pkcs11

// A module is the part of the Cryptoki interface that this package uses. It
// separates the package from the shared library. A return value of the library
// other than CKR_OK becomes an [Error]. All methods are safe for concurrent use
// if each session is used by one goroutine at a time.
type module interface {
	info() (libraryInfo, error)
	// slots returns the IDs of the slots that contain a token.
	slots() ([]uint, error)
	slotInfo(slot uint) (slotInfo, error)
	tokenInfo(slot uint) (tokenInfo, error)
	mechanisms(slot uint) ([]uint, error)

	openSession(slot uint, write bool) (uint, error)
	closeSession(session uint) error
	// loggedIn reports whether the normal user is logged in.
	loggedIn(session uint) (bool, error)
	// login uses the protected authentication path if pin is nil.
	login(session, user uint, pin []byte) error
	// find returns at most limit handles.
	find(session uint, template []attribute, limit int) ([]uint, error)
	// attributes returns the values of the given attribute types. The
	// result does not contain attributes that are absent or sensitive.
	attributes(session, object uint, types ...uint) (map[uint][]byte, error)
	// sign calls C_SignInit, then authenticate unless it is nil, then
	// C_Sign.
	sign(session, key uint, m mechanism, input []byte, authenticate func() error) ([]byte, error)

	generateKeyPair(session uint, m mechanism, public, private []attribute) (pub, priv uint, err error)
	createObject(session uint, template []attribute) (uint, error)
	destroyObject(session, object uint) error

	finalize() error
}

type libraryInfo struct {
	manufacturer, description string
	major, minor              byte
}

type slotInfo struct {
	description, manufacturer string
	removable                 bool
}

type tokenInfo struct {
	label, manufacturer, model, serial string
	flags                              uint
	maxSessions                        uint // 0: unknown or unlimited
}

// An attribute is a CK_ATTRIBUTE.
type attribute struct {
	kind  uint
	value any // []byte, string, bool or uint
}

// A mechanism is a CK_MECHANISM.
type mechanism struct {
	kind uint
	pss  *pssParams // for ckmRSAPSS
}

type pssParams struct{ hash, mgf, saltLen uint }

// The names and numbers come from pkcs11t.h.
const (
	cktFlagRemovableDevice    = 0x2 // of CK_SLOT_INFO
	cktFlagLoginRequired      = 0x4
	cktFlagUserPINInitialized = 0x8
	cktFlagProtectedPath      = 0x100
	cktFlagTokenInitialized   = 0x400
	cktFlagUserPINCountLow    = 0x10000
	cktFlagUserPINFinalTry    = 0x20000
	cktFlagUserPINLocked      = 0x40000

	ckuUser            = 1
	ckuContextSpecific = 2

	ckoCertificate = 1
	ckoPublicKey   = 2
	ckoPrivateKey  = 3

	ckcX509 = 0

	ckkRSA       = 0
	ckkEC        = 3
	ckkECEdwards = 0x40

	ckaClass              = 0x0
	ckaToken              = 0x1
	ckaPrivate            = 0x2
	ckaLabel              = 0x3
	ckaValue              = 0x11
	ckaCertificateType    = 0x80
	ckaIssuer             = 0x81
	ckaSerialNumber       = 0x82
	ckaKeyType            = 0x100
	ckaSubject            = 0x101
	ckaID                 = 0x102
	ckaSensitive          = 0x103
	ckaSign               = 0x108
	ckaVerify             = 0x10a
	ckaModulus            = 0x120
	ckaModulusBits        = 0x121
	ckaPublicExponent     = 0x122
	ckaPublicKeyInfo      = 0x129
	ckaExtractable        = 0x162
	ckaLocal              = 0x163
	ckaNeverExtractable   = 0x164
	ckaAlwaysSensitive    = 0x165
	ckaECParams           = 0x180
	ckaECPoint            = 0x181
	ckaAlwaysAuthenticate = 0x202

	ckmRSAKeyPairGen     = 0x0
	ckmRSA               = 0x1 // CKM_RSA_PKCS
	ckmRSAPSS            = 0xd
	ckmECKeyPairGen      = 0x1040
	ckmECDSA             = 0x1041
	ckmEdwardsKeyPairGen = 0x1055
	ckmEdDSA             = 0x1057

	ckmSHA224 = 0x255
	ckmSHA256 = 0x250
	ckmSHA384 = 0x260
	ckmSHA512 = 0x270

	ckgSHA224 = 5
	ckgSHA256 = 2
	ckgSHA384 = 3
	ckgSHA512 = 4
)
