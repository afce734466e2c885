// Package filestate tells whether files changed, without reading them.
package filestate

import (
	"io/fs"
	"os"
	"slices"
)

// A State is what some files were like at one time. The zero State is that of
// no files.
type State struct {
	files []fs.FileInfo // nil: there is none of that name
}

// Of returns the state of the files of these names. A name behind which there
// is no file, or one that cannot be looked at, is a state, too. Links are
// followed.
func Of(names ...string) State {
	s := State{make([]fs.FileInfo, len(names))}
	for i, name := range names {
		s.files[i], _ = os.Stat(name)
	}
	return s
}

// Equal reports whether s and o, which are states of the same names in the same
// order, are one: each file is the same one with the same size and time of
// modification. It does not notice what keeps all of these.
func (s State) Equal(o State) bool { return slices.EqualFunc(s.files, o.files, same) }

func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
