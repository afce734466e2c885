package program

import (
	"bytes"
	"log/slog"
	"sync"
)

// maxLogged bounds the lines of standard error in the log, for each request.
const maxLogged = 50

// A stderrLog writes what the program writes to standard error to the log. It never
// fails, so that the program never waits for it.
type stderrLog struct {
	logger *slog.Logger
	path   string

	mu     sync.Mutex
	line   []byte // the beginning of the last line, at most maxText and a byte
	last   string
	logged int // since the last request
}

func (l *stderrLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(b)
	for {
		part, rest, whole := bytes.Cut(b, []byte("\n"))
		l.line = append(l.line, part[:min(len(part), max(maxText+1-len(l.line), 0))]...)
		if !whole {
			return n, nil
		}
		l.end()
		b = rest
	}
}

// end logs a line.
func (l *stderrLog) end() {
	text := excerpt(string(l.line))
	l.line = l.line[:0]
	if text == "" {
		return
	}
	l.last = text
	l.logged++
	switch {
	case l.logged <= maxLogged:
		l.logger.Info("the program of the key writes", "program", l.path, "line", text)
	case l.logged == maxLogged+1:
		l.logger.Info("the program of the key writes more lines, which are not logged until the next request", "program", l.path)
	}
}

// allowMore lets the log have lines for another request.
func (l *stderrLog) allowMore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logged = 0
}

// lastLine returns the last line.
func (l *stderrLog) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := excerpt(string(l.line)); text != "" {
		return text
	}
	return l.last
}
