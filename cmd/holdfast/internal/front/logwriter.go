package front

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"sync"
	"time"
)

const (
	maxQueued = 256         // calls of Write that a LogWriter keeps
	flushTime = time.Second // limit of the wait in Close
)

var errDropped = errors.New("the log is not read fast enough; a line was dropped")

// A LogWriter writes to another writer in the background, so that a server does
// not wait for the reader of its log. If the other writer blocks, it keeps a
// limited number of writes, and drops and counts the rest. It ignores errors of
// the other writer. It is safe for concurrent use.
type LogWriter struct {
	mu      sync.Mutex
	closed  bool
	dropped int // since the last write that was queued
	queue   chan queued
	done    chan struct{} // closed when the queue is written
}

type queued struct {
	data    []byte
	dropped int // writes dropped before this one
}

// NewLogWriter returns a LogWriter for w, which the caller closes. It calls
// report with the number of dropped writes, in the place of those; report may
// write to w. From then on, SIGPIPE does not end the process when the reader of
// its standard error is gone.
func NewLogWriter(w io.Writer, report func(dropped int)) *LogWriter {
	keepOnClosedPipe()
	l := &LogWriter{queue: make(chan queued, maxQueued), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for q := range l.queue {
			if q.dropped > 0 {
				report(q.dropped)
			}
			_, _ = w.Write(q.data)
		}
		if l.dropped > 0 { // constant after Close
			report(l.dropped)
		}
	}()
	return l
}

// Write implements [io.Writer]. It never blocks.
func (l *LogWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, fs.ErrClosed
	}
	select {
	case l.queue <- queued{bytes.Clone(p), l.dropped}:
		l.dropped = 0
		return len(p), nil
	default:
		l.dropped++
		return 0, errDropped
	}
}

// Close waits until everything is written, at most one second.
func (l *LogWriter) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.mu.Unlock()
	select {
	case <-l.done:
	case <-time.After(flushTime):
	}
	return nil
}
