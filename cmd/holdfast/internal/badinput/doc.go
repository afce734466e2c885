// Package badinput has the tests of what the program must refuse, and how it
// says so.
package badinput
