// Package pkcs11 signs with private keys in HSMs, smart cards, YubiKeys and other
// tokens that have a PKCS #11 (Cryptoki) module.
//
// [Open] takes a [Config], whose URI (RFC 7512) names token and object; [Backend]
// opens references of the form pkcs11:… for package keystore.
//
// # Modules
//
// A module is a shared library that runs with all rights of the process. It is
// initialized once per process, whoever uses it, and finalized when its last key
// is closed. The package needs cgo; without it everything fails with
// [errors.ErrUnsupported].
//
// # PINs
//
// The token is asked how many tries are left. A PIN that it refused is not tried
// again by an open key, and the last try is spent only if a person typed the PIN.
// A key that always authenticates asks for it at each signature.
//
// # Lost tokens
//
// When a token was removed, reset or logged out, the next signature finds it
// again, in whatever slot it is, checks that its key is the same, and goes on.
// Until then Sign fails with signer.ErrUnavailable.
//
// Sessions are pooled, so that signatures run at the same time as far as the
// token allows. Errors hold the return value of the module as an [Error].
//
// docs/pkcs11.md has the user's view, package pkcs11test makes tokens for tests.
package pkcs11
