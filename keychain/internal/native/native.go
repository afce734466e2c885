// Package native defines the interface between the keychain backend and macOS. It
// contains no logic and calls nothing, so that the backend can be built and
// tested on every system.
package native

import "fmt"

// A Scope is one of the keychain implementations on a Mac. Each Scope is queried
// separately. If a query includes several, macOS merges the results and drops an
// error of one if another succeeds.
type Scope int

const (
	Files          Scope = iota // file-based keychains: login, System and others
	DataProtection              // the data-protection keychain, as on iOS
	Tokens                      // CryptoTokenKit: smart cards, Secure Enclave identities
)

func (s Scope) String() string {
	switch s {
	case Files:
		return "file-based keychains"
	case DataProtection:
		return "data-protection keychain"
	case Tokens:
		return "tokens"
	}
	return fmt.Sprintf("Scope(%d)", int(s))
}

// A System lists the contents of the keychains. An error of macOS is an [*Error].
// An empty result is not an error. Calls may wait for the user and cannot be
// interrupted. A System is safe for concurrent use.
type System interface {
	// Identities returns the certificates with a private key. The caller
	// releases the handles.
	Identities(Scope) ([]Identity, error)

	// Certificates returns all certificates in DER, except those that cannot
	// be read.
	Certificates(Scope) ([][]byte, error)
}

// An Identity is a certificate with a private key.
type Identity struct {
	Label       string // kSecAttrLabel
	Token       string // kSecAttrTokenID; "": not on a token
	Certificate []byte // DER
	Handle      Handle // nil if Err is set
	Err         error  // why the identity cannot be read
}

// A Handle is a reference to an identity. It is not safe for concurrent use.
type Handle interface {
	// Key returns the private key, which the caller releases.
	Key() (Key, error)
	// Release releases the reference. It must be called exactly once.
	Release()
}

// A Key is a private key with a reference count. It is safe for concurrent use.
type Key interface {
	// Supports reports whether the key can sign with an algorithm, which is
	// the name of a SecKeyAlgorithm constant.
	Supports(algorithm string) bool
	// Sign signs a digest. It may wait for the user.
	Sign(algorithm string, digest []byte) ([]byte, error)
	// Retain adds a reference, and Release removes one. The key must not be
	// used after the last Release.
	Retain()
	Release()
}

// OSStatusDomain is the error domain of an OSStatus (NSOSStatusErrorDomain).
const OSStatusDomain = "NSOSStatusErrorDomain"

// An Error is an OSStatus other than 0 or a CFError.
type Error struct {
	Call    string // the function that failed
	Domain  string // "" if macOS gave no reason
	Code    int
	Message string // of macOS, in the language of the user
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s (%s %d)", e.Call, e.Message, e.Domain, e.Code)
}
