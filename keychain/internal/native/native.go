// Package native is the seam between the keychain backend and macOS: what the
// one asks and the other answers. It holds no logic and calls nothing, so that
// the backend builds and is tested on every system.
package native

import "fmt"

// A Scope is one of the implementations of a keychain on a Mac. Each is asked
// by itself: macOS merges the answers of several and drops the errors of those
// that fail if another succeeds.
type Scope int

const (
	Files          Scope = iota // the login and System keychains and others in files
	DataProtection              // the data-protection keychain, as on iOS
	Tokens                      // CryptoTokenKit: smart cards, Secure Enclave identities
)

func (s Scope) String() string {
	switch s {
	case Files:
		return "file keychains"
	case DataProtection:
		return "data-protection keychain"
	case Tokens:
		return "tokens"
	}
	return fmt.Sprintf("Scope(%d)", int(s))
}

// A System lists what the keychains hold. Its errors from macOS are an
// [*Error]. That there is nothing is none. Calls may wait for a person and
// cannot be interrupted. It is safe for concurrent use.
type System interface {
	// Identities returns the certificates that have a private key beside
	// them. The caller releases the handles.
	Identities(Scope) ([]Identity, error)

	// Certificates returns all certificates in DER. Those that cannot be
	// read are left out.
	Certificates(Scope) ([][]byte, error)
}

// An Identity is a certificate with a private key.
type Identity struct {
	Label       string // kSecAttrLabel
	Token       string // kSecAttrTokenID; "" if it is in no token
	Certificate []byte // DER
	Handle      Handle // nil if Err is set
	Err         error  // why the identity cannot be read
}

// A Handle is a reference to an identity. It is not safe for concurrent use.
type Handle interface {
	// Key returns the private key, which the caller releases.
	Key() (Key, error)
	// Release gives the reference back. It is called once.
	Release()
}

// A Key is a counted reference to a private key. It is safe for concurrent use.
type Key interface {
	// Supports reports whether the key signs by an algorithm: the name of a
	// SecKeyAlgorithm constant.
	Supports(algorithm string) bool
	// Sign signs a digest. It may wait for a person.
	Sign(algorithm string, digest []byte) ([]byte, error)
	// Retain counts one more reference, Release one less; after the last one
	// the key must not be used.
	Retain()
	Release()
}

// OSStatusDomain is the domain of an OSStatus as an error
// (NSOSStatusErrorDomain).
const OSStatusDomain = "NSOSStatusErrorDomain"

// An Error is an OSStatus other than 0 or a CFError.
type Error struct {
	Call    string // the function that failed
	Domain  string // "" if macOS gave no reason
	Code    int
	Message string // as macOS words it, in the language of the user
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s (%s %d)", e.Call, e.Message, e.Domain, e.Code)
}
