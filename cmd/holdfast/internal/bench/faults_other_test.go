//go:build !linux

package bench

import "os"

// faultsOf counts page faults only on Linux.
func faultsOf(*os.ProcessState) (n int, ok bool) { return 0, false }
