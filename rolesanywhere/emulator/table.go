package emulator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator/internal/journal"
)

// A table holds the resources of one kind by key, in the order in which they were
// added. A row is immutable: a change replaces it. Server.mu guards all tables.
type table[T any] struct {
	name string
	rows map[string]row[T]
	keys []string // in order
	next uint64
}

// A row is a resource with its number in the order of its table.
type row[T any] struct {
	Number uint64 `json:"number"`
	Value  T      `json:"value"`
}

func newTable[T any](name string) table[T] {
	return table[T]{name: name, rows: make(map[string]row[T])}
}

func (t *table[T]) get(key string) (T, bool) {
	r, ok := t.rows[key]
	return r.Value, ok
}

// all returns the rows in order.
func (t *table[T]) all() iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		for _, key := range t.keys {
			if !yield(key, t.rows[key].Value) {
				return
			}
		}
	}
}

// put adds or replaces a row when the changes of c are applied.
func (t *table[T]) put(c *changes, key string, value T) {
	r, exists := t.rows[key]
	if !exists {
		r.Number = t.next
		t.next++ // not reused if the changes fail
	}
	r.Value = value
	t.set(c, key, r)
}

// set is put for a row with a number, which decides about its place if it is new.
func (t *table[T]) set(c *changes, key string, r row[T]) {
	c.write(t.name, key, r, func() {
		if _, exists := t.rows[key]; !exists {
			i, _ := slices.BinarySearchFunc(t.keys, r.Number, func(other string, number uint64) int {
				return cmp.Compare(t.rows[other].Number, number)
			})
			t.keys = slices.Insert(t.keys, i, key)
		}
		t.rows[key] = r
	})
}

// remove removes a row when the changes of c are applied.
func (t *table[T]) remove(c *changes, key string) {
	c.write(t.name, key, nil, func() {
		delete(t.rows, key)
		if i := slices.Index(t.keys, key); i >= 0 {
			t.keys = slices.Delete(t.keys, i, i+1)
		}
	})
}

// restore fills an empty table with the rows of a state folder.
func (t *table[T]) restore(tables journal.Tables) error {
	for key, value := range tables[t.name] {
		var stored row[json.RawMessage]
		err := json.Unmarshal(value, &stored)
		r := row[T]{Number: stored.Number}
		switch {
		case err != nil:
		case len(stored.Value) == 0 || string(stored.Value) == "null":
			err = errors.New("the row has no value")
		default:
			err = json.Unmarshal(stored.Value, &r.Value)
		}
		if err != nil {
			return fmt.Errorf("%s %s: %w", t.name, clip(key), err)
		}
		t.rows[key] = r
		t.keys = append(t.keys, key)
		t.next = max(t.next, r.Number+1)
	}
	slices.SortFunc(t.keys, func(a, b string) int {
		return cmp.Compare(t.rows[a].Number, t.rows[b].Number)
	})
	return nil
}

// stored returns the rows as a state folder keeps them.
func (t *table[T]) stored() iter.Seq2[journal.Row, error] {
	return func(yield func(journal.Row, error) bool) {
		for _, key := range t.keys {
			value, err := json.Marshal(t.rows[key])
			if !yield(journal.Row{Table: t.name, Key: key, Value: value}, err) {
				return
			}
		}
	}
}

// changes are changes to tables that are stored and applied together.
type changes struct {
	writes []journal.Row
	apply  []func()
	err    error
}

func (c *changes) write(table, key string, value any, apply func()) {
	w := journal.Row{Table: table, Key: key}
	if value != nil {
		var err error
		if w.Value, err = json.Marshal(value); err != nil && c.err == nil {
			c.err = err
		}
	}
	c.writes = append(c.writes, w)
	c.apply = append(c.apply, apply)
}

// change calls f, stores the changes that it makes, and applies them. If f or
// storing fails, nothing changes. Within f, tables have their earlier rows. The
// calls of f are never concurrent.
func (s *Server) change(f func(*changes) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var c changes
	if err := f(&c); err != nil {
		return err
	}
	return s.commit(&c)
}

func (c *changes) applyAll() {
	for _, apply := range c.apply {
		apply()
	}
	c.apply = nil
}
