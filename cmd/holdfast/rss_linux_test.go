package main

import (
	"os"
	"syscall"
)

// maxRSS returns the peak resident memory of a process in bytes. It includes
// that of the process which started it, up to then.
func maxRSS(s *os.ProcessState) int64 { return s.SysUsage().(*syscall.Rusage).Maxrss << 10 }
