//go:build unix

package main

import "os"

// openTTY opens the controlling terminal of the process (POSIX, /dev/tty).
func openTTY() (tty, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return terminal{f, f}, nil
}
