//go:build !linux

// Package hide hides the secrets in the memory of this process.
package hide

// Memory does nothing: only Linux shows the environment of a process to other processes
// of the user in a way that the process can prevent.
func Memory() {}
