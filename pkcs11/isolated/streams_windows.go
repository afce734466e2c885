package isolated

import (
	"os"

	"golang.org/x/sys/windows"
)

// closeInherited does nothing: Go starts processes only with the standard streams.
func closeInherited() {}

// takeStreams returns standard input and output, and puts others in their places: a
// module may write, and even read, there.
func takeStreams() (in, out *os.File, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	in, out = os.Stdin, os.Stdout
	if err := windows.SetStdHandle(windows.STD_INPUT_HANDLE, windows.Handle(null.Fd())); err != nil {
		return nil, nil, err
	}
	return in, out, windows.SetStdHandle(windows.STD_OUTPUT_HANDLE, windows.Handle(os.Stderr.Fd()))
}

// leaveStreams does nothing: the C library of the module has the handle of standard error,
// and would write to whatever gets the same number.
func leaveStreams() {}
