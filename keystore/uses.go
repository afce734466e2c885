package keystore

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-dev/holdfast/signer"
)

// Uses lists what references use outside of devices, without duplicates. The
// location of a device, such as the file of a PKCS #11 module or a variable
// with the name of a TPM, is not part of it.
type Uses struct {
	Files      []string // paths of files with keys or certificates
	Variables  []string // names of environment variables with keys, certificates or PINs
	PINSources []Ref    // references to PINs and passwords
}

// maxSources bounds a chain of PIN sources that name one another. A [Store]
// itself opens at most the PIN source of a PIN source.
const maxSources = 8

// Uses returns what refs use. It reads only their text and opens nothing.
//
// Uses follows PIN sources: PINSources includes the sources that other sources
// name, and Variables includes the variables of all sources. Files does not
// include the files of PIN sources, because a PIN is read each time it is
// needed and a new PIN does not mean a new key; Uses(u.PINSources...).Files
// returns these files. A source that [Store.PINSource] refuses is left out,
// because it can be a PIN that was given instead of its source.
//
// Malformed parts and references with an unknown scheme are ignored.
func (s *Store) Uses(refs ...Ref) Uses {
	var all Uses
	for _, ref := range refs {
		u := s.usesOf(ref)
		addNew(&all.Files, u.Files...)
		s.follow(&all, u, maxSources)
	}
	return all
}

// follow adds the variables and PIN sources of u to all, and in turn those of
// the PIN sources.
func (s *Store) follow(all *Uses, u Uses, depth int) {
	addNew(&all.Variables, u.Variables...)
	if depth == 0 {
		return
	}
	for _, source := range u.PINSources {
		if s.isPINSource(source) {
			addNew(&all.PINSources, source)
		}
		s.follow(all, s.usesOf(source), depth-1)
	}
}

func (s *Store) usesOf(ref Ref) Uses {
	if d, ok := s.find(ref.Scheme).(Dependent); ok {
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

// SetAttribute adds an attribute that was given separately from ref, for
// example by a flag, unless ref already has it; see [AttributeSetter]. An empty
// value adds nothing. On error, SetAttribute returns ref unchanged. The error
// wraps [errors.ErrUnsupported] if references of this kind do not have the
// attribute or it cannot be set. The error is a [*RefError] if the scheme is
// unknown or [ParseRef] would refuse the result.
func (s *Store) SetAttribute(ref Ref, name, value string) (Ref, error) {
	if value == "" {
		return ref, nil
	}
	b := s.find(ref.Scheme)
	if b == nil {
		return ref, s.unknownScheme(ref)
	}
	var set Ref
	err := errors.ErrUnsupported
	if setter, ok := b.(AttributeSetter); ok {
		set, err = setter.SetAttribute(ref, name, value)
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		err = signer.WithHint(fmt.Errorf("attribute %q cannot be set: %w", truncate(name), err), "docs/references.md lists the attributes of each kind of reference")
	case err == nil && set != ref:
		_, err = ParseRef(set.Scheme + ":" + set.Rest)
	}
	if err != nil {
		return ref, wrap(b, "set an attribute of", ref, err)
	}
	return set, nil
}

// SharePIN returns key with the PIN or the PIN source in certificate, unless key
// has one itself, or the two do not name the same device; see [PINSharer].
func (s *Store) SharePIN(key, certificate Ref) Ref {
	b, ok := s.find(key.Scheme).(PINSharer)
	if !ok || certificate.Scheme != key.Scheme {
		return key
	}
	return b.SharePIN(key, certificate)
}

// Rebase resolves the relative paths in ref and in its PIN sources against dir; see
// [Rebaser]. It returns any other ref unchanged.
func (s *Store) Rebase(ref Ref, dir string) Ref { return s.rebase(ref, dir, maxSources) }

func (s *Store) rebase(ref Ref, dir string, depth int) Ref {
	if r, ok := s.find(ref.Scheme).(Rebaser); ok {
		ref = r.Rebase(ref, dir)
	}
	sources := s.usesOf(ref).PINSources
	if len(sources) == 0 || depth == 0 {
		return ref
	}
	return mapAttributes(ref, func(name, value string) string {
		source, err := ParseRef(value)
		if err != nil || !strings.HasSuffix(name, sourceSuffix) || !slices.Contains(sources, source) || source.hasPINValue() {
			return value
		}
		if rebased := s.rebase(source, dir, depth-1); rebased != source {
			return rebased.String()
		}
		return value
	})
}
