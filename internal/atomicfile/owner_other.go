//go:build !unix

package atomicfile

import (
	"io/fs"
	"os"
)

// CopyOwnerAndMode sets the mode of f to that in from; see the file for Unix.
func CopyOwnerAndMode(f *os.File, from fs.FileInfo) error { return f.Chmod(from.Mode().Perm()) }
