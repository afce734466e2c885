// Package file opens software keys from a file, standard input or an
// environment variable, together with the certificates in the same file.
//
// A key is PEM or DER: PKCS #8, PKCS #1 (RSA), SEC 1 (EC), encrypted PKCS #8
// (PBES2), or PKCS #12. The format is recognized by the content, not by the
// name of the file or the label of a PEM block. Another backend opens the files with a PEM block that it
// claims, such as TSS2 PRIVATE KEY; see keystore.PEMClaimer.
//
// The Public of an ML-DSA key is a *mldsa.PublicKey of filippo.io/mldsa. With Go 1.27
// that type is the one of crypto/mldsa.
//
// Input is not trusted. Sizes and the work of key derivation are bounded before
// anything is decoded; docs/references.md lists the limits. A file that is
// damaged, contains two keys, or needs a conversion is refused, unless a
// certificate is for one key that can be opened. If a command can convert the file,
// the hint of the error contains it.
//
// The package has one exported type, [Backend], which package keystore uses. A
// program that already has a key in memory uses signer.FromKey.
package file
