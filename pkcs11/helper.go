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
	"github.com/holdfast-dev/holdfast/signer"
)

// A helper is a process in which a module runs; see package isolated. It is safe for
// concurrent use.
type helper struct {
	module string // its path, for errors
	stdin  io.WriteCloser
	kill   func() // ends the process; no effect if it has ended
	failed func() // called if it ends although nobody wanted that

	writing sync.Mutex

	// A goroutine that waits for an answer reads answers, for all that wait, if no other
	// one does, so that none has to be woken for its own. That one has put a value into
	// reading.
	reading chan struct{}
	answers *bufio.Reader
	exited  chan struct{} // closed when the process has ended
	exit    error         // how; before exited is closed, nobody reads it

	mu      sync.Mutex
	pending map[uint64]pendingCall
	next    uint64
	reason  error       // why this process ended the helper; nil: it did not
	unused  bool        // it is to end
	err     *endedError // of all calls after its end; nil: it runs

	ended chan struct{} // closed when all calls have ended, too
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

// startHelper starts the program at path for a module, with an environment. It calls failed
// if the helper ends although nobody wanted that.
func startHelper(program, module string, env []string, failed func()) (*helper, error) {
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
		return nil, startError(program, err)
	}
	h := newHelper(module, stdin, stdout, func() { _ = cmd.Process.Kill() })
	go h.wait(func() error { return wait(cmd.Process) }, stdout)
	timer := time.AfterFunc(startTimeout, func() { h.end(errMute); _ = stdout.Close() })
	_, err = wire.ReadHello(h.answers)
	timer.Stop()
	if err != nil {
		h.fail(err)
		_ = stdout.Close()
		return nil, greetingError(program, h.err.how)
	}
	<-h.reading
	h.mu.Lock()
	h.failed = failed
	h.mu.Unlock()
	return h, nil
}

// newHelper returns a helper whose first message is not read yet.
func newHelper(module string, stdin io.WriteCloser, stdout io.Reader, kill func()) *helper {
	h := &helper{
		module: module, stdin: stdin, kill: kill, answers: bufio.NewReader(stdout), reading: make(chan struct{}, 1),
		failed: func() {}, exited: make(chan struct{}), pending: make(map[uint64]pendingCall), ended: make(chan struct{}),
	}
	h.reading <- struct{}{}
	return h
}

// wait waits for the end of the process, and reads what it wrote before.
func (h *helper) wait(process func() error, stdout io.Closer) {
	h.exit = process()
	close(h.exited)
	timer := time.AfterFunc(lastAnswers, func() { _ = stdout.Close() })
	defer timer.Stop()
	select {
	case h.reading <- struct{}{}:
		for h.deliver() != nil {
		}
		<-h.reading
	case <-h.ended: // somebody else has noticed
	}
	_ = stdout.Close()
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

// deliver reads an answer and gives it to the call. At the end, which it reports to all
// calls, it returns nil. The caller is the one that reads.
func (h *helper) deliver() *wire.Response {
	r, err := wire.ReadResponse(h.answers)
	if err == nil {
		h.mu.Lock()
		call, ok := h.pending[r.ID]
		delete(h.pending, r.ID)
		h.mu.Unlock()
		if ok {
			call.answer <- r
			return r
		}
		err = errors.New("it answers what it was not asked")
	}
	h.fail(err)
	return nil
}

// fail ends the helper after an error of its answers.
func (h *helper) fail(err error) {
	var closed error
	if isEnd(err) { // it has usually ended, too
		select {
		case <-h.exited:
		case <-time.After(lastAnswers):
			closed = errClosedOutput
		}
	}
	h.kill()
	<-h.exited
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return
	}
	if isEnd(err) {
		err = h.exit
	}
	h.err = &endedError{h.module, cmp.Or(h.reason, closed, err, errEnded), true}
	if !h.unused {
		h.failed()
	}
	for id, call := range h.pending {
		close(call.answer)
		delete(h.pending, id)
	}
	_ = h.stdin.Close()
	close(h.ended)
}

var (
	errEnded        = errors.New("it ended")
	errClosedOutput = errors.New("it closed its output")
)

// call sends a request and waits for its answer. The error is an [Error] of the module, an
// endedError, or says why the helper could not call the module.
func (h *helper) call(q wire.Request) (*wire.Response, error) {
	answer := make(chan *wire.Response, 1)
	h.mu.Lock()
	if h.err != nil {
		defer h.mu.Unlock()
		return nil, h.err.unsent()
	}
	if len(h.pending) == wire.MaxRequests {
		h.mu.Unlock()
		return nil, signer.WithHint(fmt.Errorf("module %s: %d calls have not returned yet: %w", h.module, wire.MaxRequests, signer.ErrUnavailable), hintWait)
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
	r, ok := h.await(answer)
	switch {
	case !ok && err != nil: // the helper ignores a part of a message
		return nil, h.err.unsent()
	case !ok:
		return nil, h.err
	case r.Text != "" && r.RV != 0:
		return nil, fmt.Errorf("%s: %v", r.Text, Error(r.RV))
	case r.Text != "":
		return nil, errors.New(r.Text)
	case r.RV != 0:
		return nil, Error(r.RV)
	}
	return r, nil
}

// await returns an answer, or false at the end of the helper.
func (h *helper) await(answer <-chan *wire.Response) (*wire.Response, bool) {
	for {
		select {
		case r, ok := <-answer:
			return r, ok
		default:
		}
		select {
		case r, ok := <-answer:
			return r, ok
		case h.reading <- struct{}{}:
			for len(answer) == 0 && h.deliver() != nil {
			}
			<-h.reading
		}
	}
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

// discard ends a helper that nobody uses, and waits until it has ended.
func (h *helper) discard() {
	h.leave()
	h.end(nil)
	<-h.ended
}

// leave notes that the helper is to end.
func (h *helper) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unused = true
}

// close finalizes the module and waits until the helper has ended.
func (h *helper) close() error {
	h.leave()
	timer := time.AfterFunc(closeTimeout, func() { h.end(errMute) })
	defer timer.Stop()
	_, err := h.call(wire.Request{Op: wire.Finalize})
	_ = h.stdin.Close()
	<-h.ended
	return err
}

var errMute = errors.New("it did not answer")

// hintHung is for a module that did not answer in a helper, which is ended then.
const hintHung = "try again: the next attempt starts the module anew, in another process; if that hangs, too, " +
	"reconnect the device or restart the service that manages it, such as pcscd"

// abandon ends the helper if a call for work that nobody waits for takes hungAfter. It
// cannot tell such a call from those of others that began since the work did.
func (h *helper) abandon(work abandoned) {
	go func() {
		ticks := time.NewTicker(hungAfter)
		defer ticks.Stop()
		for {
			select {
			case <-work.done:
				return
			case <-h.ended:
				return
			case <-ticks.C:
			}
			if h.hangs(work.begun) {
				h.end(errMute)
				return
			}
		}
	}()
}

// hangs reports whether a call that is not older than begun takes hungAfter.
func (h *helper) hangs(begun time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, call := range h.pending {
		if !call.begun.Before(begun) && time.Since(call.begun) >= hungAfter {
			return true
		}
	}
	return false
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

func (e *endedError) Hint() string {
	if errors.Is(e.how, errMute) {
		return hintHung
	}
	if exit := new(exec.ExitError); errors.As(e.how, &exit) && exit.String() == "signal: killed" { // SIGKILL
		return "something killed it, such as the limit of memory of the service (MemoryMax) or the lack of memory of the machine: the log of the kernel says which"
	}
	const hint = "if pkcs11-tool -L --module PATH also crashes, install another version of the module, or ask its vendor"
	return strings.Replace(hint, "PATH", "'"+e.module+"'", 1)
}

func (e *endedError) Unwrap() []error { return []error{ckrDeviceRemoved, e.how} }
