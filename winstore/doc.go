// Package winstore signs with the private keys of certificates in the
// certificate stores of Windows: keys of CNG, such as those in a TPM or on a
// smart card, and those of the older CryptoAPI. It needs no C compiler.
//
// [Open] accepts a [Config] that names a certificate by a selector or a CNG key
// by its own name. [Backend] opens references of the form winstore:… for package
// keystore. Generate makes keys in the TPM unless the reference says otherwise.
//
// A certificate may be linked to the wrong key, so the first signature of each
// key is verified. Windows shows no dialogs unless Config.AllowUI is set, because
// nobody could answer the dialogs of a service.
//
// A build for another system has the same types; all its operations fail with
// [errors.ErrUnsupported]. The package has been tested under Wine, but not on
// Windows; docs/backends.md says what that proves. docs/references.md lists the
// attributes.
package winstore
