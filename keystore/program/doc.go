// Package program signs with keys behind programs of the user, such as one that asks a
// cloud KMS or an HSM that no other package knows.
//
// The program is started once for each open key, without a shell. It reads requests from
// standard input and writes answers to standard output, one JSON object a line, one
// request at a time. docs/exec.md has the contract. [Open] starts the program that a
// [Config] names; [Backend] opens references of the form exec:program=…;key=… for package
// keystore.
//
// A program is trusted with what it signs, but not to work: all its answers are bounded
// in size and time, and each signature is verified with the public key, which cannot
// change while the key is open. A program that ends is started again by the next
// signature.
package program
