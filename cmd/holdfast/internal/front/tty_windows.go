package front

import "os"

// OpenTTY opens the console of the process, even if the standard handles are
// redirected.
func OpenTTY() (TTY, error) {
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
