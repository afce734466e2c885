// Package interop tests package pkcs11 with modules and tokens of several
// vendors, as they are installed. Each test runs in a separate process, because a
// module reads its configuration once per process. Tests that replace system
// files run in a separate mount namespace.
package interop
