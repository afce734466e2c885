//go:build unix

package loopback

import (
	"math"
	"syscall"
)

// maxFiles returns how many files the process may open (RLIMIT_NOFILE). Package
// os has already raised the soft limit to the hard limit.
func maxFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64
	}
	return uint64(limit.Cur)
}
