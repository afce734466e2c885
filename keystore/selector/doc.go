// Package selector says which certificate of an operating system's key store
// is meant. A store has many, so a reference to one (winstore:, keychain:) names
// it by what the certificate says: its names, its serial number, its thumbprint.
//
// A [Selector] holds that. [Parse] reads it from a reference, its method String
// writes it as one, [ParseSigningHelper] reads the notation of
// aws_signing_helper, and [For] returns the one that means a given certificate.
// [Selector.Select] chooses among the [Candidate] values that a store offers; an
// error lists what there is as references to paste.
//
// A [DN] is a distinguished name. It is read and written as RFC 4514 has it, and
// compared as RFC 5280, section 7.1, wants it: without regard to case and to the
// number of blanks.
//
// Backends use the package; package keystore does not know it.
package selector
