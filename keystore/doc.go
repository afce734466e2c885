// Package keystore opens private keys by reference. A reference is text that a
// person writes: a path, or a scheme with the grammar of one backend, such as
//
//	/etc/pki/app/key.pem
//	pkcs11:token=prod;object=app?pin-source=file:/run/pin
//	tpm:handle=0x81010002
//
// [ParseRef] splits off the scheme and knows no more: the [Backend] of the scheme
// reads the rest. What others want to know of a reference, or to change in it,
// they ask the [Store], which asks the backend.
//
// A Store is made of a list of backends, by [New]; package keystore/all has the
// list of all of them. [Store.Open] opens one key, and [Store.OpenIdentity] a key
// together with its certificates, which may be elsewhere. What a reference must
// not carry is in [Options]: the function that gives PINs, the logger, standard
// input and the environment. The zero Options ask for nothing and read neither.
//
// # Capabilities
//
// A backend opens keys. What else it can do is a small interface each:
// [Lister], [Generator], [Installer], [Sealer] and [Unsealer] work on what is in
// a store; [CertificateReader], [PEMClaimer], [Dependent], [AttributeSetter] and
// [Rebaser] answer for its references. The Store has a method for each, which
// fails with [errors.ErrUnsupported] where the backend has not.
//
// # Secrets
//
// A PIN is a []byte that its user clears. A [Ref] prints without the value of
// pin-value; [PINSource] reads a PIN from a file, a variable or a sealed file
// each time that it is needed.
//
// docs/references.md is the grammar of all references.
package keystore
