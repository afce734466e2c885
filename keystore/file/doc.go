// Package file opens private keys in software, from a file, standard input or an
// environment variable, with the certificates that are beside them.
//
// A key is PEM or DER: PKCS #8, PKCS #1 (RSA), SEC 1 (EC), encrypted PKCS #8
// (PBES2), or PKCS #12. The types of the PEM blocks decide, not the name of the
// file. A file of a type that another backend claims, such as TSS2 PRIVATE KEY,
// goes to that backend; see keystore.PEMClaimer.
//
// Input is not trusted. Sizes and the work of key derivation are bounded before
// anything is decoded; docs/references.md lists the limits. A file that is
// damaged, holds two keys, or needs a conversion is refused with the reason, and
// the hint is the command that converts it.
//
// The package has one exported type, [Backend], which package keystore uses. A
// program that has a key in memory already takes signer.FromKey.
package file
