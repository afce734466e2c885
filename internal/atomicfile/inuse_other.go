//go:build !windows

package atomicfile

func isInUse(error) bool { return false }
