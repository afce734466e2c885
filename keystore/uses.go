package keystore

import (
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-dev/holdfast/signer"
)

// Uses are what references lead to outside of devices, each once. What only
// says where a device is, such as a module's file or a variable with the name
// of a TPM, is not among them.
type Uses struct {
	Files      []string // paths of the files that hold keys and certificates
	Variables  []string // names of the environment variables that hold these, or a PIN
	PINSources []Ref    // where PINs and passwords are
}

// maxSources bounds how many PIN sources name one another in turn. A [Store]
// opens a source of a source and no deeper.
const maxSources = 8

// Uses returns what refs use, by their text alone: nothing is opened. It follows
// PIN sources: those that these name are among the PINSources, and the variables
// of all of them among the Variables. Their files are not among the Files, since
// a PIN is read each time that it is needed and its change makes no other key;
// Uses(u.PINSources...).Files are these. A source that [Store.PINSource] refuses
// is left out: it may be a PIN that somebody gave in the place of its source.
//
// What is malformed, or of an unknown scheme, is passed over.
func (s *Store) Uses(refs ...Ref) Uses {
	var all Uses
	for _, ref := range refs {
		u := s.usesOf(ref)
		addNew(&all.Files, u.Files...)
		s.follow(&all, u, maxSources)
	}
	return all
}

// follow adds to all what u has but for its files, and what its PIN sources
// have.
func (s *Store) follow(all *Uses, u Uses, depth int) {
	addNew(&all.Variables, u.Variables...)
	if depth == 0 {
		return
	}
	for _, source := range u.PINSources {
		if s.givesPIN(source) {
			addNew(&all.PINSources, source)
		}
		s.follow(all, s.usesOf(source), depth-1)
	}
}

func (s *Store) usesOf(ref Ref) Uses {
	if d, ok := s.scheme[ref.Scheme].(Dependent); ok {
		return d.Uses(ref)
	}
	return Uses{}
}

func addNew[T comparable](to *[]T, some ...T) {
	for _, v := range some {
		if !slices.Contains(*to, v) {
			*to = append(*to, v)
		}
	}
}

// SetAttribute adds an attribute that was given beside ref, such as by a flag,
// unless ref says it already; see [AttributeSetter]. An empty value adds nothing.
// Beside an error it returns ref as it is. The error is [errors.ErrUnsupported]
// if references of this kind have no such attribute, or not one that can be set,
// and a [*RefError] if the scheme is unknown or [ParseRef] would refuse the
// result.
func (s *Store) SetAttribute(ref Ref, name, value string) (Ref, error) {
	if value == "" {
		return ref, nil
	}
	b, ok := s.scheme[ref.Scheme]
	if !ok {
		return ref, s.unknown(ref)
	}
	var set Ref
	err := errors.ErrUnsupported
	if setter, ok := b.(AttributeSetter); ok {
		set, err = setter.SetAttribute(ref, name, value)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		err = signer.WithHint(fmt.Errorf("attribute %q cannot be set: %w", clip(name), err), "see docs/references.md for the attributes of each kind of reference")
	case err == nil && set != ref:
		_, err = ParseRef(set.Scheme + ":" + set.Rest)
	}
	if err != nil {
		return ref, wrap(b, "set an attribute of", ref, err)
	}
	return set, nil
}

// Rebase makes a relative path in ref one below dir; see [Rebaser]. It returns a
// ref that has none as it is.
func (s *Store) Rebase(ref Ref, dir string) Ref {
	if r, ok := s.scheme[ref.Scheme].(Rebaser); ok {
		return r.Rebase(ref, dir)
	}
	return ref
}
