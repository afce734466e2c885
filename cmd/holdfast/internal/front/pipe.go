package front

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// keepOnClosedPipe lets a write to standard output or standard error fail if
// its reader is gone. By default, SIGPIPE would end the process, for example
// before its result is written, or while others use its credentials. Programs
// that it starts have the default action: they inherit ignored signals, but not
// caught ones.
func keepOnClosedPipe() {
	if !signal.Ignored(syscall.SIGPIPE) {
		caughtPipe.Do(func() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) })
	}
}

var caughtPipe sync.Once

// WithLogWriter returns a with a standard error that neither blocks nor ends
// the command, whatever its reader does. The caller calls done at the end,
// before it returns an error that is to be printed.
func (a App) WithLogWriter() (_ App, done func()) {
	direct := a.Logger(false)
	w := NewLogWriter(a.Stderr, func(n int) { direct.Warn(DroppedLines, "count", n) })
	a.Stderr = w
	return a, func() { w.Close() }
}

// DroppedLines is the message for lines that a [LogWriter] dropped.
const DroppedLines = "log lines were dropped, because nobody read them"
