// Package holdfast documents the module: where to start, with runnable examples.
// It contains no code; the packages below it do the work.
//
// Holdfast signs with private keys that stay in their store: an HSM, a smart card
// or a YubiKey (PKCS #11), a TPM 2.0, the macOS Keychain, the certificate stores
// of Windows, or a file. Its main job is to obtain temporary AWS credentials with
// such a key and its certificate, through IAM Roles Anywhere.
//
// # Where to start
//
// A reference is a path, a pkcs11: URI or similar text that a user writes into a
// configuration. A program that opens keys by reference needs two packages:
//
//   - [github.com/holdfast-dev/holdfast/keystore] parses references and opens
//     them. A key is a [github.com/holdfast-dev/holdfast/signer.Signer]: a
//     [crypto.Signer] with certificates and Close.
//   - [github.com/holdfast-dev/holdfast/keystore/all] is the list of all
//     backends. A program that needs only some backends passes them to
//     [github.com/holdfast-dev/holdfast/keystore.New].
//
// The example "Open" opens a key, "Password" one that is encrypted, "Sign" signs with
// it, and "TLS" uses it in a server. "Mldsa" signs with an ML-DSA key.
//
// A program that needs one kind of key opens it directly:
// [github.com/holdfast-dev/holdfast/pkcs11.Open],
// [github.com/holdfast-dev/holdfast/tpm.Open],
// [github.com/holdfast-dev/holdfast/winstore.Open] and
// [github.com/holdfast-dev/holdfast/keychain.Open] accept a Config. A zero
// field selects its default.
//
// A program that needs AWS credentials passes the key to
// [github.com/holdfast-dev/holdfast/rolesanywhere]. A
// [github.com/holdfast-dev/holdfast/rolesanywhere/credentials.Cache] keeps the
// credentials and renews them. See the examples "Credentials" and "Cache". For
// clients of the AWS SDK for Go, there is
// [github.com/holdfast-dev/holdfast/rolesanywhere/awssdk].
//
// A program that runs for longer than its certificate is valid replaces the key
// and the certificate with [github.com/holdfast-dev/holdfast/signer/rotate].
//
// # Packages
//
//	signer                      the interface of a key; standard library only
//	signer/rotate               replaces a key when its files change
//	signer/signertest           the contract of a Signer as a test; a test CA
//	keystore                    references, backends, and the Store of backends
//	keystore/selector           selects a certificate in a store
//	keystore/file               keys in files, variables and standard input
//	keystore/program            keys behind a program of the user
//	keystore/all                the list of backends
//	pkcs11, tpm                 keys in tokens and in a TPM 2.0
//	winstore, keychain          keys of Windows and of macOS
//	keystore/spiffe             X.509-SVIDs of the SPIFFE Workload API
//	pki                         requests, certificates and revocation lists
//	pki/authority               the folder of a small CA
//	rolesanywhere               the client of IAM Roles Anywhere
//	rolesanywhere/awssdk        a provider for the AWS SDK for Go; a module of its own
//	rolesanywhere/assume        assumes a role with the credentials of another
//	rolesanywhere/sigv4x509     signs requests with a certificate's key, and verifies them
//	rolesanywhere/sigv4         the same with AWS credentials
//	rolesanywhere/trustpolicy   evaluates trust policies; the tags of a certificate
//	rolesanywhere/credentials   AWS credentials, and caches for them
//	rolesanywhere/credentials/… provide credentials to AWS clients
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
// Test errors with [errors.Is] and [errors.As], never by their text.
// Package signer defines the errors that a caller can act on, such as
// [github.com/holdfast-dev/holdfast/signer.ErrPINIncorrect]. Such errors also
// wrap the native error of the device, such as a pkcs11.Error.
// [github.com/holdfast-dev/holdfast/signer.Hint] returns a sentence that tells
// the user what to do, if the error has one.
//
// # Secrets
//
// The caller passes a function that returns PINs and passwords; it is called when
// one is needed. They never appear in a printed reference, an error or a log. AWS
// credentials print without their secret parts.
//
// # Compatibility
//
// The module follows semantic versioning. Until 1.0 a minor version may change
// the Go API; CHANGELOG.md lists each change with its replacement.
// docs/stability.md lists the other stable interfaces: flags, JSON, exit codes and
// metrics of the command. Structs gain fields, so write their literals with field
// names. Packages below an internal folder may change at any time. The two latest
// releases of Go are supported where go.mod allows them.
package holdfast
