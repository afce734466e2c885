//go:build !linux

package front

// HideMemory does nothing: only Linux shows the environment of a process to
// other processes of the user in a way that the process can prevent.
func HideMemory() {}
