// Package winstoretest puts keys and certificates into the stores of Windows,
// or of Wine, for tests, and takes them out again. It does nothing elsewhere.
package winstoretest
