// Package cms signs and reads messages of the Cryptographic Message Syntax (RFC
// 5652): SignedData with content of the type id-data, the certificates of the
// signer, and one signature over signed attributes. Holdfast sends such a message
// to a CA to renew a certificate: its content is a certificate request (PKCS #10),
// and the key of the certificate in use signs it.
//
// The reader accepts what openssl cms -sign writes, if that is DER: no detached
// content, no message without signed attributes, no second signer and no digest
// weaker than SHA-256.
//
// The package does not judge certificates. The caller decides whether the signer
// may have what the content asks for.
package cms
