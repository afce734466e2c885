package podidentity

import (
	"container/list"
	"time"
)

const (
	// maxAge is how long an answer is remembered. It bounds how long the token
	// of a deleted pod still works.
	maxAge = time.Minute

	// maxRemembered is the number of answers that are remembered. A node has
	// some hundred pods.
	maxRemembered = 10_000
)

// A memory remembers values for maxAge at most. If it is full, it forgets the oldest
// one. The zero value is ready for use. It is not safe for concurrent use.
type memory[K comparable, V any] struct {
	all   map[K]*list.Element
	order list.List // of remembered, oldest first
}

type remembered[K comparable, V any] struct {
	key       K
	value     V
	at, until time.Time
}

// get returns the value of key if it is remembered at the time now. A time before it was
// remembered means that the clock was set back, so that its age is not known.
func (m *memory[K, V]) get(key K, now time.Time) (value V, found bool) {
	element := m.all[key]
	if element == nil {
		return value, false
	}
	r := element.Value.(*remembered[K, V])
	if now.Before(r.at) || !now.Before(r.until) {
		m.forget(element)
		return value, false
	}
	return r.value, true
}

// put remembers a value from now until maxAge has passed, but not longer than until.
func (m *memory[K, V]) put(key K, value V, now, until time.Time) {
	if !until.After(now) {
		return
	}
	if m.all == nil {
		m.all = make(map[K]*list.Element)
	}
	if old := m.all[key]; old != nil {
		m.forget(old)
	}
	for oldest := m.order.Front(); oldest != nil; oldest = m.order.Front() {
		if len(m.all) < maxRemembered && now.Sub(oldest.Value.(*remembered[K, V]).at) < maxAge {
			break
		}
		m.forget(oldest)
	}
	if end := now.Add(maxAge); until.After(end) {
		until = end
	}
	m.all[key] = m.order.PushBack(&remembered[K, V]{key, value, now, until})
}

func (m *memory[K, V]) forget(element *list.Element) {
	delete(m.all, element.Value.(*remembered[K, V]).key)
	m.order.Remove(element)
}
