// Package pki makes and checks the certificates of a small certification
// authority: certificate requests, certificates and revocation lists. The keys
// stay where they are: it signs with any [signer.Signer].
//
// The rules for a certificate are data: a [Profile] says what a certificate
// contains. [Client], the profile of a machine that uses IAM Roles Anywhere,
// follows the requirements of that service. Of a certificate request only the
// public key is used; the caller decides on the names.
//
// The package keeps no state and does no I/O, except that a Signer may use a
// device. All functions are safe for concurrent use. They borrow their
// arguments.
package pki
