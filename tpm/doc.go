// Package tpm signs with private keys of a TPM 2.0: keys in TSS2 PRIVATE KEY
// files, which the TPM loads, and persistent keys. It also creates both, and seals
// secrets that only the same TPM can unseal.
//
// [Open] accepts a [Config]. [Backend] opens references of the form tpm:… and
// handle:… for package keystore, and files with a TSS2 PRIVATE KEY block.
// [Create], [Seal] and [Unseal] work on the bytes of such files.
//
// # Devices
//
// A resource manager (/dev/tpmrm0, TPM Base Services of Windows) is used if
// there is one, but is not required. A TPM without a resource manager is opened
// only for a few signatures at a time, so that other processes can use it, and
// no object is left in it. After a reset of the TPM, the next signature loads
// the key again.
//
// # Passwords
//
// A password is never sent to the TPM in the clear: the package proves it with
// an HMAC session that is salted with the parent key. Sealed and unsealed secrets
// are encrypted on the bus. A TPM counts incorrect passwords for all its keys
// together, so an open key does not retry a rejected password, and the last
// attempt is used only if a person typed the password. An error after an attempt
// that the TPM counted wraps [signer.ErrTryCounted].
//
// The package needs no cgo. docs/tpm.md is the guide for users. Package tpmtest
// runs a software TPM for tests.
package tpm
