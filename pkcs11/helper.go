package pkcs11

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/holdfast-dev/holdfast/pkcs11/internal/wire"
	"github.com/holdfast-dev/holdfast/signer"
)

// A helper is a process in which a module runs; see package isolated. It is safe for
// concurrent use.
type helper struct {
	module string // its path, for errors
	stdin  io.WriteCloser
	kill   func() // ends the process; no effect if it has ended

	writing sync.Mutex

	mu      sync.Mutex
	pending map[uint64]pendingCall
	next    uint64
	reason  error       // why this process ended the helper; nil: it did not
	err     *endedError // of all calls after its end; nil: it runs

	ended chan struct{} // closed when the process has ended
}

type pendingCall struct {
	begun  time.Time
	answer chan<- *wire.Response // closed at the end of the helper
}

const (
	// startTimeout bounds the time until a helper says which version it is. It has loaded
	// no module then.
	startTimeout = 10 * time.Second

	// hungAfter is how long a call may take of which nobody waits for the result.
	hungAfter = 5 * time.Second

	// lastAnswers bounds the time to read what a helper wrote before its end. A process
	// that its module has started can keep the pipe open.
	lastAnswers = time.Second
)

// startHelper starts the program at path for a module, with an environment.
func startHelper(program, module string, env []string) (*helper, error) {
	cmd := exec.Command(program)
	cmd.Env, cmd.Stderr = env, os.Stderr // a module may write there
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	h := newHelper(module, stdin, func() { _ = cmd.Process.Kill() })
	exited := make(chan error, 1)
	go func() {
		exited <- wait(cmd.Process)
		time.AfterFunc(lastAnswers, func() { _ = stdout.Close() })
	}()
	answers := bufio.NewReader(stdout)
	timer := time.AfterFunc(startTimeout, func() { h.end(errMute); _ = stdout.Close() })
	_, err = wire.ReadHello(answers)
	if timer.Stop(); err != nil {
		h.kill()
		exit := <-exited
		_, _ = stdin.Close(), stdout.Close()
		if isEnd(err) {
			h.mu.Lock()
			err = cmp.Or(h.reason, exit, errEnded)
			h.mu.Unlock()
		}
		return nil, signer.WithHint(fmt.Errorf("%s is not the helper of this program: %w", program, err), "install holdfast-pkcs11 of the same version as holdfast")
	}
	go h.read(answers, stdout, exited)
	return h, nil
}

func newHelper(module string, stdin io.WriteCloser, kill func()) *helper {
	return &helper{module: module, stdin: stdin, kill: kill, pending: make(map[uint64]pendingCall), ended: make(chan struct{})}
}

// wait waits until the process has ended and returns how, nil after exit code 0. The end
// of its standard output does not say so: see lastAnswers.
func wait(p *os.Process) error {
	state, err := p.Wait()
	if err == nil && !state.Success() {
		err = &exec.ExitError{ProcessState: state}
	}
	return err
}

// isEnd reports whether err says only that there is nothing more to read.
func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed)
}

// read delivers the answers until the helper ends.
func (h *helper) read(answers *bufio.Reader, stdout io.Closer, exited <-chan error) {
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
	h.kill()
	exit := <-exited
	_ = stdout.Close()
	h.mu.Lock()
	if isEnd(err) {
		err = exit
	}
	h.err = &endedError{h.module, cmp.Or(h.reason, err, errEnded), true}
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
		return nil, h.err.unsent()
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
	case !ok && err != nil: // the helper ignores a part of a message
		return nil, h.err.unsent()
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
	h.kill()
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
	sent   bool  // the helper had the request; the module has perhaps received it
}

func (e *endedError) unsent() error { return &endedError{e.module, e.how, false} }

func (e *endedError) Error() string {
	return fmt.Sprintf("module %s: its process ended: %v", e.module, e.how)
}

func (e *endedError) Unwrap() []error { return []error{ckrDeviceRemoved, e.how} }
