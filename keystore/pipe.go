package keystore

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/internal/await"
	"github.com/holdfast-dev/holdfast/signer"
)

// inheritedPrefixes are the folders that name the open files of a process. A shell
// passes the pipe of a process substitution, <(COMMAND), as a path in one of them.
var inheritedPrefixes = []string{"/dev/fd/", "/dev/std", "/proc/self/fd/"}

// isInherited reports whether path names an open file of this process.
func isInherited(path string) bool {
	for _, prefix := range inheritedPrefixes {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

// pipes has the contents of the inherited pipes that were read. A pipe can be read
// only once, but a key is opened again, for example after its device was lost.
var pipes struct {
	made sync.Once // at the first pipe
	turn
	contents map[string][]byte
}

func pipeLate() error {
	return signer.WithHint(fmt.Errorf("the pipe did not end within %v", stdinTimeout), "check the program that writes to the pipe")
}

// readPipe reads the inherited pipe f with this path, which is open without
// blocking, or returns a copy of what was read before. The wait for its end is
// bounded, like that for standard input.
func readPipe(ctx context.Context, f *os.File, path string, limit int64) ([]byte, error) {
	pipes.made.Do(func() { pipes.turn, pipes.contents = newTurn(), make(map[string][]byte) })
	if err := pipes.take(ctx); err != nil {
		return nil, err
	}
	defer pipes.end()
	data, ok := pipes.contents[path]
	if !ok {
		var err error
		if runtime.GOOS != "linux" { // elsewhere, Go cannot wait for a pipe that does not block
			if f, err = os.Open(path); err != nil {
				return nil, withoutPath(err)
			}
			defer f.Close()
		}
		ctx, cancel := context.WithTimeoutCause(ctx, stdinTimeout, pipeLate())
		defer cancel()
		stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Now()) }) // where pipes have deadlines
		defer stop()
		if data, err = await.Result(ctx, func() ([]byte, error) { return readAll(f, MaxInput) }, nil); err != nil {
			return nil, err
		}
		pipes.contents[path] = data
	}
	if int64(len(data)) > limit {
		return nil, tooLarge(limit)
	}
	return bytes.Clone(data), nil
}
