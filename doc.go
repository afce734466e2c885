// Package holdfast documents the module: it says where to start, and has
// examples that run. It contains no code; the packages below it do the work.
//
// Holdfast signs with private keys that stay where they are: in an HSM, a smart
// card or a YubiKey (PKCS #11), in a TPM 2.0, in the macOS Keychain, in the
// certificate stores of Windows, or in a file. Its main job is to turn such a key
// and its certificate into temporary AWS credentials, through IAM Roles Anywhere.
//
// # Where to start
//
// A program that opens a key by a reference, such as a path or a pkcs11: URI that
// its user writes into a configuration, needs two packages:
//
//   - [github.com/holdfast-dev/holdfast/keystore] parses references and opens
//     them. A key is a [github.com/holdfast-dev/holdfast/signer.Signer]: a
//     [crypto.Signer] with certificates and Close.
//   - [github.com/holdfast-dev/holdfast/keystore/all] is the list of all
//     backends. A program that needs only some of them calls
//     [github.com/holdfast-dev/holdfast/keystore.New] with those.
//
// The example "Open" does that, "Sign" signs with the key, and "TLS" serves with
// it.
//
// A program that knows which kind of key it wants opens it directly:
// [github.com/holdfast-dev/holdfast/pkcs11.Open],
// [github.com/holdfast-dev/holdfast/tpm.Open],
// [github.com/holdfast-dev/holdfast/winstore.Open] and
// [github.com/holdfast-dev/holdfast/keychain.Open] take a Config, whose zero
// value is the default.
//
// A program that needs AWS credentials gives the key to
// [github.com/holdfast-dev/holdfast/rolesanywhere], and keeps the result in a
// [github.com/holdfast-dev/holdfast/rolesanywhere/credentials.Cache], which
// renews it. The examples "Credentials" and "Cache" do that.
//
// A program that runs for longer than its certificate is valid replaces the key
// and the certificate with [github.com/holdfast-dev/holdfast/signer/rotate].
//
// # Packages
//
//	signer                      the interface of a key; only standard imports
//	signer/rotate               a key that is opened again when its files change
//	signer/signertest           the contract of a Signer as a test; a test CA
//	keystore                    references, backends, and the Store of backends
//	keystore/selector           selects a certificate in a store
//	keystore/file               keys in files, variables and standard input
//	keystore/all                the list of backends
//	pkcs11, tpm                 keys in tokens and in a TPM 2.0
//	winstore, keychain          keys of Windows and of macOS
//	rolesanywhere               the client of IAM Roles Anywhere
//	rolesanywhere/sigv4x509     its signature, made and verified
//	rolesanywhere/credentials   AWS credentials, and caches for them
//	rolesanywhere/credentials/… the ways in which AWS clients read them
//	rolesanywhere/emulator      a local Roles Anywhere and STS for tests
//	cmd/holdfast                the command
//	cmd/holdfast/cli            its command line, for use with other backends
//
// In the repository, docs/architecture.md explains how the packages work
// together and how to add a backend. docs/references.md describes the grammar
// of references.
//
// # Errors
//
// Errors are tested with [errors.Is] and [errors.As], never by their text.
// Package signer defines the errors that a caller can act on, such as
// [github.com/holdfast-dev/holdfast/signer.ErrPINIncorrect]. Such errors also
// wrap the native error of the device, such as a pkcs11.Error.
// [github.com/holdfast-dev/holdfast/signer.Hint] returns a sentence that tells
// the user what to do, if the error has one.
//
// # Secrets
//
// PINs and passwords are asked for through a function, when they are needed, and
// never appear in a reference that is printed, in an error or in a log. AWS
// credentials print without their secret parts.
//
// # Compatibility
//
// The module follows semantic versioning. Until 1.0 a minor version may change
// the Go API; CHANGELOG.md says what changed and what to write instead.
// docs/stability.md says what else is kept stable: flags, JSON, exit codes and
// metrics of the command. Structs gain fields: write their literals with field
// names. Packages below an internal folder may change at any time. The two
// latest releases of Go are supported where go.mod allows them.
package holdfast
