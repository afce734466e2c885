// Package keystore opens private keys by reference. A reference is text that
// users write: a path, or a scheme followed by a name in the grammar of one
// backend, such as
//
//	/etc/pki/app/key.pem
//	pkcs11:token=prod;object=app?pin-source=file:/run/pin
//	tpm:handle=0x81010002
//
// [ParseRef] only splits off the scheme; the [Backend] of the scheme parses the
// rest. To get information from a reference or to change it, use the [Store],
// which calls the backend.
//
// [New] makes a Store from a list of backends; package keystore/all lists all
// backends. [Store.Open] opens a key. [Store.OpenIdentity] opens a key together
// with its certificates, which can be in another place. [Options] hold the
// input that must not be part of a reference: the function that returns PINs,
// the logger, standard input and the environment. The zero Options ask for no
// PIN, and read neither standard input nor the environment.
//
// # Capabilities
//
// Every backend opens keys. Each optional capability is a small interface.
// [Lister], [Generator], [Rekeyer], [Installer], [Sealer] and [Unsealer] work on the
// contents of a store; a [Watcher] tells of the next certificate; [CertificateReader], [PEMClaimer], [Dependent],
// [AttributeSetter], [PINSharer] and [Rebaser] work on references. The methods
// of the Store that list, generate, install and seal fail with
// [errors.ErrUnsupported] if the backend lacks the capability.
//
// # Secrets
//
// A PIN is a []byte; the code that uses it clears it. A [Ref] prints without
// the value of pin-value. [Store.PINSource] reads a PIN from a file, a variable
// or a sealed file each time the PIN is needed.
//
// docs/references.md describes the grammar of all references.
package keystore
