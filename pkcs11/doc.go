// Package pkcs11 signs with private keys in HSMs, smart cards, YubiKeys and other
// tokens that have a PKCS #11 (Cryptoki) module.
//
// [Open] accepts a [Config] whose URI (RFC 7512) names a token and an object.
// [Backend] opens references of the form pkcs11:… for package keystore.
//
// # Modules
//
// A module is a shared library that runs with all permissions of this process.
// It is initialized once, for all its keys, and finalized when its
// last key is closed.
//
// It runs in this process if the program was built with cgo, and otherwise in a helper
// process: see URI.Isolation. That needs the program holdfast-pkcs11 in the folder of
// this program, in ../libexec/holdfast beside that, or where [HelperVariable] says, and
// not writable for others; without it all operations fail with [errors.ErrUnsupported].
// The module has the environment of this process, except the variable with its PIN.
//
// # PINs
//
// A process does not send a PIN again that the token has rejected. After a wrong
// PIN, the PINFunc is told (see [keystore.Prompt]) that only a PIN that a person
// gives may be used, unless this process has logged in before, or has used the
// only try and now has another PIN. Most tokens report that a wrong PIN was
// entered; of the others only this process's own tries are known. A key with
// CKA_ALWAYS_AUTHENTICATE needs the PIN for each signature.
//
// # Lost tokens
//
// After a token was removed, reset or logged out, the next signature finds it in
// any slot, checks that the key is the same, and continues. While the token is
// away, Sign fails with signer.ErrUnavailable.
//
// Sessions are pooled, so signatures run concurrently if the token allows it.
// Errors wrap the return value of the module as an [Error].
//
// docs/pkcs11.md is the guide for users. Package pkcs11test creates tokens for
// tests.
package pkcs11
