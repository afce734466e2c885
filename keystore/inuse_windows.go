package keystore

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isInUse reports whether another program has a file open, so that it cannot be
// replaced at the moment.
func isInUse(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_ACCESS_DENIED)
}
