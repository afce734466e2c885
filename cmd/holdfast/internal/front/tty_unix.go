//go:build unix

package front

import "os"

// OpenTTY opens the controlling terminal of the process (POSIX, /dev/tty).
func OpenTTY() (TTY, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return terminal{f, f}, nil
}
