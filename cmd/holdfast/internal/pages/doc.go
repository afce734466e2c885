// Package pages tests the documents: the commands of some pages run, the links
// of all lead somewhere, and the flags and tests that they name exist.
package pages
