// Package attestation lets a CA issue a certificate only to a key that was
// generated in a TPM 2.0 and cannot leave it. It needs one file in each direction,
// and neither an attestation key nor a nonce:
//
//   - [Evidence] contains the endorsement key of the TPM, with its certificate if the
//     maker issued one, and the public area of the key. By itself it proves nothing,
//     because anybody can write such a file.
//   - [Evidence.Verify] checks that the public area describes a key that was generated
//     in a TPM and cannot leave it, and that the endorsement key belongs to a TPM that
//     the CA trusts.
//   - [Evidence.Wrap] encrypts the certificate so that only this TPM decrypts it, and
//     only if it contains an object with exactly this public area (TPM 2.0 Library,
//     part 1, section 24, Credential Protection). A TPM never contains an object with
//     the attribute fixedTPM whose private part was made elsewhere. So nobody gets the
//     certificate of a key that is not in the TPM.
//
// The package needs no TPM. All functions are safe for concurrent use, and borrow
// their arguments.
package attestation
