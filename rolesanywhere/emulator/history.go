package emulator

import (
	"encoding/json"
	"errors"
	"iter"

	"github.com/holdfast-dev/holdfast/rolesanywhere/emulator/internal/journal"
)

// A history is the events that LookupEvents finds. Those of callers who are not verified
// have a ring of their own, because anybody who reaches the emulator can cause them, and
// they must not displace the others.
type history struct{ verified, unverified ring }

// A ring is a table of events that drops its oldest ones.
type ring struct {
	table[json.RawMessage]
	maxRows, maxBytes int
	bytes             int // sum of the lengths of the events
}

// Limits of the memory for events.
const (
	maxEvents          = 10_000
	maxEventBytes      = 32 << 20
	maxUnverified      = 1000
	maxUnverifiedBytes = 4 << 20
)

func newHistory() history {
	return history{
		verified:   ring{table: newTable[json.RawMessage]("events"), maxRows: maxEvents, maxBytes: maxEventBytes},
		unverified: ring{table: newTable[json.RawMessage]("unverified-events"), maxRows: maxUnverified, maxBytes: maxUnverifiedBytes},
	}
}

// A keptEvent is an event of a history.
type keptEvent struct {
	id     string
	number uint64 // in the order of the history
	record json.RawMessage
}

// add adds events of one request when the changes of c are applied. The numbers of both
// rings are one sequence.
func (h *history) add(c *changes, verified bool, events []keptEvent) {
	r := &h.unverified
	if verified {
		r = &h.verified
	}
	r.next = max(h.verified.next, h.unverified.next)
	delta := 0
	for _, e := range events {
		delta += len(e.record)
	}
	for _, key := range r.excess(len(events), delta) {
		delta -= len(r.rows[key].Value)
		r.remove(c, key)
	}
	for _, e := range events {
		r.put(c, e.id, e.record)
	}
	c.apply = append(c.apply, func() { r.bytes += delta })
}

// excess returns the keys of the oldest events that must go if rows and bytes are added.
func (r *ring) excess(rows, bytes int) []string {
	rows, bytes = rows+len(r.keys), bytes+r.bytes
	for i, key := range r.keys {
		if rows-i <= r.maxRows && bytes <= r.maxBytes {
			return r.keys[:i]
		}
		bytes -= len(r.rows[key].Value)
	}
	return r.keys
}

// newest returns the events of both rings, the newest one first.
func (h *history) newest() iter.Seq[keptEvent] {
	return func(yield func(keptEvent) bool) {
		a, b := &h.verified, &h.unverified
		i, j := len(a.keys), len(b.keys)
		for i+j > 0 {
			var e keptEvent
			if j == 0 || i > 0 && a.rows[a.keys[i-1]].Number > b.rows[b.keys[j-1]].Number {
				i--
				e = a.kept(i)
			} else {
				j--
				e = b.kept(j)
			}
			if !yield(e) {
				return
			}
		}
	}
}

func (r *ring) kept(i int) keptEvent {
	row := r.rows[r.keys[i]]
	return keptEvent{r.keys[i], row.Number, row.Value}
}

func (h *history) size() int { return len(h.verified.keys) + len(h.unverified.keys) }

// restore is that of a table. It leaves out the oldest events if there are too many, which
// the state folder drops later.
func (h *history) restore(tables journal.Tables) error {
	return errors.Join(h.verified.restore(tables), h.unverified.restore(tables))
}

func (r *ring) restore(tables journal.Tables) error {
	if err := r.table.restore(tables); err != nil {
		return err
	}
	for _, row := range r.rows {
		r.bytes += len(row.Value)
	}
	dropped := r.excess(0, 0)
	for _, key := range dropped {
		r.bytes -= len(r.rows[key].Value)
		delete(r.rows, key)
	}
	r.keys = r.keys[len(dropped):]
	return nil
}

func (h *history) stored() iter.Seq2[journal.Row, error] {
	return func(yield func(journal.Row, error) bool) {
		for _, r := range []*ring{&h.verified, &h.unverified} {
			for row, err := range r.stored() {
				if !yield(row, err) {
					return
				}
			}
		}
	}
}
