//go:build !linux

package main

import "os"

// maxRSS is measured on Linux only; its unit differs elsewhere.
func maxRSS(*os.ProcessState) int64 { return 0 }
