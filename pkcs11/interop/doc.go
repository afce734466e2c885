// Package interop holds tests of package pkcs11 with modules and tokens of
// several makers, as an installation has them. Each runs in a process of its
// own, since a module reads its configuration once per process, and those that
// replace files of the system in a mount namespace of its own.
package interop
