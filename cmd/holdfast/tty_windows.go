package main

import "os"

// openTTY opens the console, also if the standard handles are redirected.
func openTTY() (tty, error) {
	in, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile("CONOUT$", os.O_RDWR, 0)
	if err != nil {
		in.Close()
		return nil, err
	}
	return terminal{in, out}, nil
}
