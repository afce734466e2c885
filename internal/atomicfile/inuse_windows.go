package atomicfile

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isInUse reports whether err can mean that another program has a file open.
// Windows also returns "access denied" if that file would be replaced.
func isInUse(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}
