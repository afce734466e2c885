// Package signer defines the interface of a private key: a [Signer] is a
// [crypto.Signer] with certificates and a Close method, independent of where the
// key is stored. The package imports no third-party module, so that any
// program can accept a Signer without linking a backend.
//
// A Signer comes from package keystore, which opens references, from a backend
// such as package pkcs11, or from [FromKey], which wraps any crypto.Signer.
// [Bind] adds certificates from another source, [TLSCertificate] converts a
// Signer for crypto/tls, and [SelectCertificates] selects certificates and the
// paths of their issuers. [HashByLength] and [SaltByHash] adapt a key to libraries that
// ask for signatures which devices or this package refuse.
//
// [SignContext] bounds a signature by a context. [WithContext] and [WithTimeout] do so
// for libraries that accept only a crypto.Signer.
//
// The code that opens a Signer closes it. The comment of a function that keeps
// a Signer says whether it borrows or owns it. All methods of a Signer are safe
// for concurrent use. Package signertest tests this contract.
//
// # Errors
//
// The variables Err… are the errors that a caller can act on, for example by
// asking for another PIN or for another reference. Every backend wraps them,
// together with the native error of its device; test with [errors.Is]. [Hint]
// returns a sentence that tells the user what to do, if the error has one.
//
// # For authors of backends
//
// [MechanismFor] decodes [crypto.SignerOpts] for all backends, and refuses
// digests of the wrong length. [ECDSASignature] encodes the signature of a
// device. [DigestInfo] returns the bytes that precede the digest in PKCS #1
// v1.5. [Verifies] checks the signature of a device.
package signer
