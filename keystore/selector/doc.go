// Package selector selects a certificate in the key store of an operating
// system. Such a store has many certificates, so a reference to one (winstore:,
// keychain:) contains properties of the certificate: its names, its serial
// number or its thumbprint.
//
// A [Selector] holds these properties. [Parse] parses the attributes of a
// reference, and [Selector.String] formats them. [ParseSigningHelper] parses
// the notation of aws_signing_helper. [For] returns the Selector of a given
// certificate. [Selector.Select] selects one of the [Candidate] values of a
// store. The hint of its error lists the candidates as references to paste.
//
// A [DN] is a distinguished name in the form of RFC 4514. DNs are compared
// without regard to case and to the number of spaces (RFC 5280, section 7.1).
//
// Backends import this package. Package keystore does not.
package selector
