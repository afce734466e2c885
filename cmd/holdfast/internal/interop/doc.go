// Package interop has the tests of the program with AWS's own clients.
package interop
