package pkcs11

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/pkcs11/internal/wire"
)

// A helper is a process in which a module runs; see package isolated. It is safe for
// concurrent use.
type helper struct {
	module string // its path, for errors
	cmd    *exec.Cmd
	stdin  io.WriteCloser

	writing sync.Mutex

	mu      sync.Mutex
	pending map[uint64]pendingCall
	next    uint64
	reason  error // why this process ended the helper; nil: it did not
	err     error // the error of all calls after its end; nil: it runs

	ended chan struct{} // closed when the process has ended
}

type pendingCall struct {
	begun  time.Time
	answer chan<- *wire.Response // closed at the end of the helper
}

// hungAfter is how long a call may take of which nobody waits for the result.
const hungAfter = 5 * time.Second

// startHelper starts the program at path for a module, with an environment.
func startHelper(program, module string, env []string) (*helper, error) {
	h := &helper{module: module, cmd: exec.Command(program), pending: make(map[uint64]pendingCall), ended: make(chan struct{})}
	h.cmd.Env, h.cmd.Stderr = env, os.Stderr // a module may write there
	stdin, err := h.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.stdin = stdin
	if err := h.cmd.Start(); err != nil {
		return nil, startError(program, err)
	}
	answers := bufio.NewReader(stdout)
	if _, err := wire.ReadHello(answers); err != nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
		return nil, &helperError{fmt.Errorf("%s is not the helper of this program: %w", program, err)}
	}
	go h.read(answers)
	return h, nil
}

// read delivers the answers until the helper ends.
func (h *helper) read(answers *bufio.Reader) {
	var err error
	for {
		var r *wire.Response
		if r, err = wire.ReadResponse(answers); err != nil {
			break
		}
		h.mu.Lock()
		call, ok := h.pending[r.ID]
		delete(h.pending, r.ID)
		h.mu.Unlock()
		if !ok {
			err = errors.New("it answers what it was not asked")
			break
		}
		call.answer <- r
	}
	_ = h.cmd.Process.Kill() // no effect if it has ended
	exit := h.cmd.Wait()
	h.mu.Lock()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = exit
	}
	h.err = &endedError{h.module, cmp.Or(h.reason, err, errEnded)}
	for id, call := range h.pending {
		close(call.answer)
		delete(h.pending, id)
	}
	h.mu.Unlock()
	_ = h.stdin.Close()
	close(h.ended)
}

var errEnded = errors.New("it ended")

// call sends a request and waits for its answer. The error is an [Error] of the module, an
// endedError, or says why the helper could not call the module.
func (h *helper) call(q wire.Request) (*wire.Response, error) {
	answer := make(chan *wire.Response, 1)
	h.mu.Lock()
	if h.err != nil {
		defer h.mu.Unlock()
		return nil, h.err
	}
	h.next++
	q.ID = h.next
	h.pending[q.ID] = pendingCall{time.Now(), answer}
	h.mu.Unlock()
	h.writing.Lock()
	err := wire.WriteRequest(h.stdin, &q)
	h.writing.Unlock()
	if errors.Is(err, wire.ErrTooLong) {
		h.mu.Lock()
		delete(h.pending, q.ID)
		h.mu.Unlock()
		return nil, err
	} else if err != nil {
		h.end(nil) // read then closes the answer
	}
	r, ok := <-answer
	switch {
	case !ok:
		return nil, h.err
	case r.Text != "":
		return nil, errors.New(r.Text)
	case r.RV != 0:
		return nil, Error(r.RV)
	}
	return r, nil
}

// running reports whether the helper has not ended, as far as is known.
func (h *helper) running() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err == nil
}

// end ends the helper, because of reason.
func (h *helper) end(reason error) {
	h.mu.Lock()
	if h.reason == nil && h.err == nil {
		h.reason = reason
	}
	h.mu.Unlock()
	_ = h.cmd.Process.Kill()
}

// close finalizes the module and waits until the helper has ended.
func (h *helper) close() error {
	timer := time.AfterFunc(closeTimeout, func() { h.end(errMute) })
	defer timer.Stop()
	_, err := h.call(wire.Request{Op: wire.Finalize})
	_ = h.stdin.Close()
	<-h.ended
	return err
}

var errMute = errors.New("it did not answer")

// abandon ends the helper in hungAfter if calls that are pending now are still pending
// then. Nobody waits for one of them.
func (h *helper) abandon() {
	h.mu.Lock()
	defer h.mu.Unlock()
	var hung []uint64
	for id, call := range h.pending {
		if time.Since(call.begun) >= grace {
			hung = append(hung, id)
		}
	}
	if len(hung) == 0 {
		return
	}
	time.AfterFunc(hungAfter, func() {
		h.mu.Lock()
		still := false
		for _, id := range hung {
			_, ok := h.pending[id]
			still = still || ok
		}
		h.mu.Unlock()
		if still {
			h.end(errMute)
		}
	})
}

// An endedError reports that the helper of a module ended. To the code that recovers from
// the removal of a token this is one: all sessions are gone.
type endedError struct {
	module string
	how    error // such as *exec.ExitError
}

func (e *endedError) Error() string {
	return fmt.Sprintf("module %s: its process ended: %v", e.module, e.how)
}

func (e *endedError) Hint() string {
	if errors.Is(e.how, errMute) {
		return ""
	}
	const hint = "if pkcs11-tool -L --module PATH also crashes, install another version of the module, or ask its vendor"
	return strings.Replace(hint, "PATH", "'"+e.module+"'", 1)
}

func (e *endedError) Unwrap() []error { return []error{ckrDeviceRemoved, e.how} }
