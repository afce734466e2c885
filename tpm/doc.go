// Package tpm signs with private keys of a TPM 2.0: keys in TSS2 PRIVATE KEY
// files, which the TPM loads, and persistent keys. It also makes both, and seals
// secrets so that only one TPM gives them back.
//
// [Open] takes a [Config]; [Backend] opens references of the form tpm:… and
// handle:… for package keystore, and files with a TSS2 PRIVATE KEY block.
// [Create], [Seal] and [Unseal] work on the bytes of such files.
//
// # Devices
//
// A resource manager (/dev/tpmrm0, TPM Base Services of Windows) is used where
// there is one, and not needed. A TPM without one is opened for the time of some
// signatures, so that other processes get their turn, and nothing is left in it.
// After a reset of the TPM the next signature loads the key again.
//
// # Passwords
//
// A password never crosses the bus in clear: it is proved in an HMAC session
// that is salted to the parent. Secrets that are sealed or unsealed cross it
// encrypted. A TPM counts wrong passwords for all its keys together, so one that
// was refused is not tried again by an open key, and the last try is spent only
// if a person typed the password.
//
// The package needs no cgo. docs/tpm.md has the user's view, package tpmtest runs
// a software TPM for tests.
package tpm
