package emulator

import (
	"errors"
	"fmt"
	"iter"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator/internal/journal"
)

// A storedTable is a table as the state folder keeps it.
type storedTable interface {
	restore(journal.Tables) error
	stored() iter.Seq2[journal.Row, error]
}

// stored returns all tables that the state folder keeps.
func (r *resources) stored() []storedTable {
	return []storedTable{&r.about, &r.anchors, &r.profiles, &r.crls, &r.roles, &r.policies, &r.subjects, &r.sessions, &r.history}
}

// openState opens the state folder and fills the empty tables with its rows.
func (s *Server) openState(folder string) error {
	j, tables, err := journal.Open(folder)
	if err != nil {
		return err
	}
	s.journal = j
	for _, t := range s.stored() {
		if err := t.restore(tables); err != nil {
			return j.Damaged(err)
		}
	}
	for name, want := range map[string]string{"account": s.account, "region": s.region} {
		if got, ok := s.about.get(name); ok && got != want {
			return fmt.Errorf("%s: the state is that of %s %s, not %s; use another folder", j.Path(), name, clip(got), want)
		}
	}
	if err := s.checkRestored(); err != nil {
		return j.Damaged(err)
	}
	return nil
}

// checkRestored checks and parses the rows of the state folder.
func (s *Server) checkRestored() error {
	err := errors.Join(checkRows(&s.anchors, "trust-anchor"), checkRows(&s.profiles, "profile"), checkRows(&s.crls, "crl"), checkRows(&s.subjects, "subject"))
	for _, a := range s.anchors.all() {
		err = errors.Join(err, a.parse())
	}
	for _, c := range s.crls.all() {
		err = errors.Join(err, c.parse())
	}
	for _, r := range s.roles.all() {
		err = errors.Join(err, r.parse())
	}
	return err
}

// checkRows checks the ARNs of the resources of a kind.
func checkRows[T item[T]](t *table[T], kind string) error {
	for key, r := range t.all() {
		if _, err := parseARN(key, kind); err != nil || r.common().ARN != key {
			return fmt.Errorf("%q is not the ARN of a %s", key, kind)
		}
	}
	return nil
}

// describe records whose state it is.
func (s *Server) describe(c *changes) {
	s.about.put(c, "account", s.account)
	s.about.put(c, "region", s.region)
}

// commit stores changes in the state folder, if there is one, and applies them.
func (s *Server) commit(c *changes) error {
	if c.err != nil {
		return c.err
	}
	if s.journal == nil || len(c.writes) == 0 {
		c.applyAll()
		return nil
	}
	if err := s.journal.Append(c.writes); err != nil {
		return err
	}
	c.applyAll()
	if err := s.journal.Compact(s.allStored()); err != nil { // the changes are stored
		s.logger.Warn("could not compact the state", "error", err)
	}
	return nil
}

// allStored returns the rows of all tables.
func (s *Server) allStored() iter.Seq2[journal.Row, error] {
	return func(yield func(journal.Row, error) bool) {
		for _, t := range s.stored() {
			for row, err := range t.stored() {
				if !yield(row, err) {
					return
				}
			}
		}
	}
}

// closeState releases the state folder.
func (s *Server) closeState() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.Close()
}
