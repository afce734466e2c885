package front

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A LogWriter keeps the order, reports dropped writes in their place, and does
// not block even in Close.
func TestLogWriter(t *testing.T) {
	keepOnClosedPipe() // the first call of signal.Notify must not be in a bubble
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe() // blocks until it is read
		l := NewLogWriter(w, func(n int) { fmt.Fprintf(w, "dropped %d\n", n) })
		begin := time.Now()
		const lines = maxQueued + 100
		kept := 0
		for n := range lines {
			if _, err := fmt.Fprintln(l, n); err == nil {
				kept++
			}
			synctest.Wait() // the first one is being written
		}
		l.Close()
		if took := time.Since(begin); kept != maxQueued+1 || took != flushTime {
			t.Errorf("%d kept; took %v", kept, took)
		}
		if _, err := l.Write(nil); err == nil {
			t.Error("no error after Close")
		}
		var want strings.Builder
		for n := range kept {
			fmt.Fprintln(&want, n)
		}
		fmt.Fprintf(&want, "dropped %d\n", lines-kept)
		got := make([]byte, want.Len())
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want.String() {
			t.Errorf("%v; read %q", err, got)
		}
	})
}
