// Package signer defines a private key as Holdfast sees it: a [Signer] is a
// [crypto.Signer] with its certificates and a Close method, wherever the key
// lives. The package imports the standard library alone, so that any program can
// accept a Signer without linking a backend.
//
// A Signer comes from package keystore, which opens references, from a backend
// such as package pkcs11, or from [FromKey], which takes any crypto.Signer.
// [Bind] adds certificates from elsewhere, [TLSCertificate] makes a Signer an
// identity for crypto/tls, and [Chain] puts certificates into order.
//
// Whoever opens a Signer closes it. A function that keeps a Signer says in its
// comment whether it borrows or owns it. All methods of a Signer are safe for
// concurrent use. Package signertest has the contract as a test.
//
// # Errors
//
// The variables Err… are what a caller can act on: another PIN, another
// reference, a device that has to be connected. Every backend wraps them, and
// keeps the native code of its device behind them; test with [errors.Is].
// [Hint] returns the way out that an error knows, as a sentence for people.
//
// # For authors of backends
//
// [MechanismFor] decodes the options of [crypto.SignerOpts] once for all
// backends, and refuses digests of the wrong length. [ECDSASignature] and
// [DigestInfo] encode what devices give and take. [Verifies] checks a signature
// that a device made.
package signer
