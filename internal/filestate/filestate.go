// Package filestate detects changes of files without reading them.
package filestate

import (
	"io/fs"
	"os"
	"slices"
)

// A State is a snapshot of the metadata of some files. The zero State is the
// state of no files.
type State struct {
	files []fs.FileInfo // nil for a file that os.Stat cannot read
}

// Of returns the state of the named files. A file that does not exist or whose
// metadata cannot be read is part of the state, too. Of follows symbolic links.
func Of(names ...string) State {
	s := State{make([]fs.FileInfo, len(names))}
	for i, name := range names {
		s.files[i], _ = os.Stat(name)
	}
	return s
}

// Equal reports whether s and o are equal: each file is the same file (see
// [os.SameFile]) with the same size and modification time. Both must be states
// of the same names in the same order. Equal does not detect a change that
// keeps all of these.
func (s State) Equal(o State) bool { return slices.EqualFunc(s.files, o.files, same) }

func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
