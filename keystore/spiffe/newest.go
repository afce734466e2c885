package spiffe

// messages are those of a stream, of which the newest counts: a goroutine reads them as
// they come, so that they do not wait in the connection, and keeps one.
type messages struct {
	newest chan svids // has at most one
	ended  chan error // gets the error of the stream once, after the last message
}

// receive starts to read s, which nobody else may use until discard has returned.
func receive(s *stream) *messages {
	m := &messages{make(chan svids, 1), make(chan error, 1)}
	go func() {
		for {
			all, err := s.next()
			if err != nil {
				m.ended <- err
				return
			}
			m.put(all)
		}
	}()
	return m
}

// put replaces the message that waits. It is not called concurrently.
func (m *messages) put(all svids) {
	m.drop()
	m.newest <- all
}

// next waits for the next message and returns the newest. The caller clears it.
func (m *messages) next() (svids, error) {
	select {
	case all := <-m.newest:
		return all, nil
	case err := <-m.ended:
		m.ended <- err
		select {
		case all := <-m.newest: // it came before the end
			return all, nil
		default:
			return nil, err
		}
	}
}

// isQuiet reports whether next would have to wait.
func (m *messages) isQuiet() bool { return len(m.newest) == 0 && len(m.ended) == 0 }

// discard waits until the stream, whose context the caller has canceled, has ended, and
// clears what it has left.
func (m *messages) discard() {
	<-m.ended
	m.drop()
}

// drop clears the message that waits, if there is one.
func (m *messages) drop() {
	select {
	case old := <-m.newest:
		old.clear()
	default:
	}
}
