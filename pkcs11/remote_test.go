package pkcs11

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-dev/holdfast/pkcs11/internal/wire"
	"github.com/holdfast-dev/holdfast/signer"
)

// scripted starts a helper without a process, which answers with f until the returned
// function is called.
func scripted(f func(q *wire.Request) wire.Response) (*helper, func()) {
	in, answers := io.Pipe()
	requests, stdin := io.Pipe()
	exit := make(chan struct{})
	kill := sync.OnceFunc(func() { _, _ = answers.Close(), requests.Close(); close(exit) })
	h := newHelper("module", stdin, in, kill)
	go h.wait(func() error { <-exit; return nil }, in)
	<-h.reading
	go func() {
		for {
			q, err := wire.ReadRequest(requests)
			if err != nil {
				return
			}
			r := f(q)
			r.ID = q.ID
			_ = wire.WriteResponse(answers, &r)
		}
	}()
	return h, kill
}

// A handle of one helper can be the number of another key in the next one. It is not sent
// there, not even with a session that is open there.
func TestHandlesOfAnotherHelper(t *testing.T) {
	r := newRemote()
	var end func()
	var signed []uint64
	r.start = func() (h *helper, _ error) {
		h, end = scripted(func(q *wire.Request) wire.Response {
			switch q.Op {
			case wire.Sign:
				signed = append(signed, q.Object)
				return wire.Response{Data: []byte("signature")}
			}
			return wire.Response{Numbers: []uint64{7}} // each session and object
		})
		return h, nil
	}
	open := func() (session, key uint) {
		t.Helper()
		session, err := r.openSession(1, false)
		if err != nil {
			t.Fatal(err)
		}
		found, err := r.find(session, nil, 1)
		if err != nil || len(found) != 1 {
			t.Fatalf("%d objects, error %v", len(found), err)
		}
		return session, found[0]
	}
	sign := func(session, key uint) error {
		_, err := r.sign(session, key, mechanism{}, nil, nil)
		return err
	}
	session, key := open()
	if err := sign(session, key); err != nil {
		t.Fatal(err)
	}
	end()
	if err := sign(session, key); !errors.Is(err, ckrDeviceRemoved) {
		t.Errorf("after the end of the helper: error %v", err)
	}
	session2, key2 := open()
	if key2 == key || session2 == session {
		t.Error("a number is used again")
	}
	for _, c := range []struct {
		session, key uint
		want         error
	}{{session2, key, ckrKeyHandleInvalid}, {session, key2, ckrSessionHandleInvalid}, {session, key, ckrSessionHandleInvalid}, {session2, 7, ckrKeyHandleInvalid}, {session2, key2, nil}} {
		if err := sign(c.session, c.key); !errors.Is(err, c.want) {
			t.Errorf("session %d, key %d: error %v, want %v", c.session, c.key, err, c.want)
		}
	}
	if len(signed) != 2 {
		t.Errorf("%d signatures, want 2", len(signed))
	}
	if err := r.finalize(); err != nil {
		t.Error(err)
	}
}

// Whether a PIN has reached the module decides whether it may be sent again.
func TestSentPIN(t *testing.T) {
	pin := []byte("1234")
	var end func()
	var got []byte
	h, end := scripted(func(q *wire.Request) wire.Response {
		got = bytes.Clone(q.Data)
		end()
		return wire.Response{}
	})
	for _, sent := range []bool{true, false} { // the second one finds that the helper has ended
		_, err := h.call(wire.Request{Op: wire.Login, Data: pin})
		e := (*endedError)(nil)
		if !errors.As(err, &e) || e.sent != sent || !sent && errors.Is(loginError(err), errLogin) {
			t.Errorf("error %v, want one that was sent: %t", err, sent)
		}
		if !bytes.Equal(got, pin) {
			t.Errorf("the module received %q", got)
		}
	}
}

// Only the helpers that end although nobody wanted that are counted.
func TestEndedHelpers(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(h *helper, kill func())
		want int32
	}{
		"closed":    {func(h *helper, _ func()) { _ = h.close() }, 0},
		"discarded": {func(h *helper, _ func()) { h.discard() }, 0},
		"crashed":   {func(_ *helper, kill func()) { kill() }, 1},
		"hung":      {func(h *helper, _ func()) { h.end(errMute) }, 1},
	} {
		h, kill := scripted(func(q *wire.Request) wire.Response { return wire.Response{} })
		var n atomic.Int32
		h.failed = func() { n.Add(1) }
		if test.end(h, kill); test.want == 0 {
			kill()
		}
		<-h.ended
		if n.Load() != test.want {
			t.Errorf("%s: %d, want %d", name, n.Load(), test.want)
		}
	}
}

// After a helper that hung, another one is started: this program need not be restarted.
func TestHintForHungHelper(t *testing.T) {
	for _, err := range []error{&endedError{"module", errMute, true}, &muteError{"module", true, context.DeadlineExceeded}} {
		if hint := signer.Hint(err); !strings.Contains(hint, "the next attempt starts the module anew") || strings.Contains(hint, "restart this program") {
			t.Errorf("%v: %s", err, hint)
		}
	}
	if hint := signer.Hint(&muteError{"module", false, context.DeadlineExceeded}); !strings.Contains(hint, "restart this program") {
		t.Errorf("in this process: %s", hint)
	}
}

// More calls than the helper takes are errors, which do not end it.
func TestTooManyCalls(t *testing.T) {
	answers := make(chan struct{})
	h, end := scripted(func(*wire.Request) wire.Response { <-answers; return wire.Response{} })
	defer end()
	errs := make(chan error, wire.MaxRequests+1)
	for range wire.MaxRequests + 1 {
		go func() { _, err := h.call(wire.Request{Op: wire.Info}); errs <- err }()
	}
	if err := <-errs; !errors.Is(err, signer.ErrUnavailable) || signer.Hint(err) == "" {
		t.Errorf("error %v", err)
	}
	close(answers)
	for range wire.MaxRequests {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}
