// Package keychain signs with private keys of the macOS Keychain: in the login
// and System keychains and other keychain files, in the data-protection
// keychain, and in CryptoTokenKit tokens, which are smart cards and the Secure
// Enclave.
//
// [Open] accepts a [Config] that names one identity, which is a certificate with
// its private key. [Backend] opens references of the form keychain:… for
// package keystore. Generate keys with the tools of macOS: keys in the Secure
// Enclave need entitlements, which a program built from source does not have.
//
// macOS may show a dialog for a signature and ask for the password of a keychain,
// a PIN or a fingerprint. Sign waits for the answer, and Close does not wait for
// Sign.
//
// The package needs no cgo and no entitlement. A build for another system has
// the same types; all its operations fail with [errors.ErrUnsupported]. The
// package has been tested with a test double of Apple's frameworks, but not on a
// Mac; docs/backends.md says what that proves. docs/keychain.md is the guide for
// users.
package keychain
